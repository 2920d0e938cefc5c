"""Watches backup storages: connects them at a node's start, pings them, and says so when one is lost (BS-10, BS-11)."""

from __future__ import annotations

import asyncio
from functools import partial

from zcloud.domain.operations.global_config import current
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageStatus
from zcloud.domain.storage.status import Status
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Context
from zcloud.kernel.job import JobQueue
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.storage.connect_backup_storage import connect_task
from zcloud.processes.watch import Watch

CATEGORY = "backupStorage"
# Rounds between two attempts to reconnect.
LONGEST_PAUSE = 32


class BackupStorageWatch(Watch, name="backup_storage_watch", interval=(CATEGORY, "ping.interval")):
    """A ping that changes nothing is no event; only a completed connect makes a storage Connected.

    One that stays Disconnected is asked less and less often, and by a setting no more after some attempts.
    """

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._round = 0
        # By storage that is Disconnected: attempts, and the round of the next.
        self._away: dict[str, tuple[int, int]] = {}

    async def begin(self) -> None:
        """Whether a storage is still there is not known until it was connected anew."""
        for uuid in await self.cloud.ports["views"].where("backup_storage"):
            await self._try(partial(self._reconnect, uuid, "the management node has started"))

    async def look(self) -> None:
        """Ping all, so many at a time."""
        storages = await self.cloud.ports["views"].where("backup_storage")
        self._round += 1
        self._away = {uuid: away for uuid, away in self._away.items() if uuid in storages}
        limit = asyncio.Semaphore(int(await current(self.cloud, CATEGORY, "ping.parallelismDegree")))

        async def bounded(uuid: str) -> None:
            async with limit:
                await self._try(lambda: self.ping(uuid))

        await asyncio.gather(*(bounded(uuid) for uuid in storages))

    async def ping(self, uuid: str) -> None:
        """Ask one whether it is there, and act when the answer is news."""
        status = await self._status_when_idle(uuid)
        if status is None:
            return
        if status is not Status.DISCONNECTED:
            self._away.pop(uuid, None)
        elif not await self._is_due(uuid):
            return
        error = await self._ask(uuid, status)
        if not error and status is not Status.CONNECTED:
            await self._reconnect(uuid, "it answers pings again")
        elif error and status is not Status.DISCONNECTED:
            await self._lose(uuid, error)

    async def _is_due(self, uuid: str) -> bool:
        """Whether one that is away is asked in this round."""
        if await current(self.cloud, CATEGORY, "connection.autoReconnectOnError") != "true":
            return False
        attempts, due = self._away.get(uuid, (0, 0))
        most = int(await current(self.cloud, CATEGORY, "connection.autoReconnectOnError.maxAttemptsNum"))
        if self._round < due or (most and attempts >= most):
            return False
        self._away[uuid] = (attempts + 1, self._round + min(2**attempts, LONGEST_PAUSE))
        return True

    async def _status_when_idle(self, uuid: str) -> Status | None:
        """None while a job is at work on the storage, which will say itself how that ended."""
        unit = Unit(self.cloud, Context(), self.cloud.clock.now())
        storage = await unit.find(BackupStorage, uuid)
        if storage is None or storage.deleting_job or (await unit.companion(JobQueue, storage)).jobs:
            return None
        return (await unit.companion(BackupStorageStatus, storage)).status

    async def _ask(self, uuid: str, status: Status) -> str:
        """Why it does not answer; a storage that is Connected is asked several times before that is believed."""
        tries = int(await current(self.cloud, CATEGORY, "ping.maxFailure")) if status is Status.CONNECTED else 1
        pause = float(await current(self.cloud, CATEGORY, "ping.sleepPeriodAfterFailure"))
        error = ""
        for n in range(tries):
            if n:
                await self.cloud.clock.sleep(pause)
            unit = Unit(self.cloud, Context(), self.cloud.clock.now())
            storage = await unit.find(BackupStorage, uuid)
            if storage is None:
                return ""
            error = await self.cloud.ports["probe"](connect_task(unit, storage).args)
            if not error:
                return ""
        return error

    async def _reconnect(self, uuid: str, reason: str) -> None:
        async def reconnect(unit: Unit) -> None:
            storage = await unit.find(BackupStorage, uuid)
            if storage is None or storage.deleting_job or (await unit.companion(JobQueue, storage)).jobs:
                return
            await submit(unit, "reconnect_backup_storage", storage)

        await self.decide(reason, reconnect)

    async def _lose(self, uuid: str, error: str) -> None:
        async def lose(unit: Unit) -> None:
            storage = await unit.find(BackupStorage, uuid)
            if storage is not None and not (await unit.companion(JobQueue, storage)).jobs:
                (await unit.companion(BackupStorageStatus, storage)).disconnected(error)

        await self.decide(f"it does not answer pings: {error}", lose)
