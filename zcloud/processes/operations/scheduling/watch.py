"""The watch of schedulers: fires what is due, goes on with what has begun, and forgets old runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from zcloud.domain.operations.global_config import current
from zcloud.domain.operations.scheduler import Scheduler
from zcloud.domain.operations.scheduler_job import SchedulerJob
from zcloud.domain.operations.scheduler_occurrence import GOING, SchedulerOccurrence
from zcloud.kernel import event as events
from zcloud.kernel import failpoint
from zcloud.kernel.clock import SECOND
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.errors import Refused
from zcloud.kernel.keep import keeper
from zcloud.kernel.record import Record
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.due import Due
from zcloud.processes.operations.scheduling.opening import fire
from zcloud.processes.operations.scheduling.running import Running, context_of
from zcloud.processes.operations.scheduling.targets import follow
from zcloud.processes.watch import Watch

log = logging.getLogger(__name__)
# The machine's clock may jump while one waits.
LONGEST_WAIT = 1.0
AT_ONCE = 100
# Seconds for which what is due waits so that others need not.
PATIENCE = 2.0
# Old runs that are forgotten at one look.
FORGOTTEN = 10_000
DAY = 86_400 * SECOND
# What may have become of a target.
FATES = (".Removed", ".Destroyed", ".Deleted", ".OwnerChanged")
OWN = ("job", "scheduler", "scheduler_job", "scheduler_occurrence")


class SchedulerWatch(Watch, name="scheduler", interval=("scheduler", "history.sweepInterval")):
    """Every node has one; each sees to what is its own, and the log sees to it that nothing is done twice."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.due = Due()
        self.running = Running(cloud)
        self._wake = asyncio.Event()
        self._loaded = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._fates: asyncio.Queue[str] = asyncio.Queue()

    def start(self) -> None:
        self.cloud.log.listen(self._hear)
        self.cloud.leases.listen(lambda gained, _: self._spawn(self.running.resume, "resume") if gained else None)
        super().start()
        self._spawn(self._fire_for_ever, "fire")
        self._spawn(self._follow_for_ever, "follow")

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.running.close()
        await super().close()

    def _spawn(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        task = keeper(work, f"{self.name}-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hear(self, records: list[Record]) -> None:
        for record in records:
            if record.topic.startswith("scheduler_clock."):
                event = events.decode(record.topic, record.schema, record.state)
                self.due.put(record.resource_uuid, event.due_date)  # type: ignore[attr-defined]
                self._wake.set()
            elif record.kind not in OWN and record.topic.endswith(FATES):
                self._fates.put_nowait(record.resource_uuid)
        self.running.hear(records)

    async def _load(self) -> None:
        for row in await self.cloud.ports["views"].rows("scheduler", "uuid", "due_date"):
            if row["due_date"] and row["uuid"] not in self.due:
                self.due.put(row["uuid"], row["due_date"])
        self._loaded = True
        await self._try(self.running.resume)

    # -- firing

    async def _fire_for_ever(self) -> None:
        if not self._loaded:
            await self._load()
        while True:
            now = self.cloud.now()
            self.running.wake(now)
            keys = self.due.take(now, AT_ONCE)
            await asyncio.gather(*(self._fire(key) for key in keys))
            if len(keys) < AT_ONCE:
                await self._rest()
            else:
                await self._give_way()

    async def _give_way(self) -> None:
        """Many are due at once: what was begun is carried out and read models follow before more is begun.

        People's queries wait for what was written before them. It is no reason to stand still for long.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self.running.eased()
                await self.cloud.ports["views"].where("scheduler", uuid="")

    async def _rest(self) -> None:
        self._wake.clear()
        upcoming = self.due.next()
        left = (upcoming - self.cloud.now()) / SECOND if upcoming else LONGEST_WAIT
        sleeping = asyncio.ensure_future(self.cloud.clock.sleep(min(max(left, 0.01), LONGEST_WAIT)))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    async def _fire(self, uuid: str) -> None:
        again = self.cloud.now() + int(LONGEST_WAIT * SECOND)
        if not self.cloud.leases.owns(uuid):
            self.due.put(uuid, again)  # until whose it is has fired it
            return

        async def body(unit: Unit) -> None:
            await fire(unit, await unit.get(Scheduler, uuid), self.cloud.now())

        try:
            scheduler = await self.cloud.load(uuid)
            if not isinstance(scheduler, Scheduler) or not scheduler.exists:
                return
            failpoint.hit("scheduler.fire.before")
            await self.cloud.decide(context_of(scheduler.account_uuid, uuid, reason="its time has come"), body)
            failpoint.hit("scheduler.fire.after")
        except Refused as refused:
            log.warning("scheduler %s is tried again: %s", uuid, refused.message)
            self.due.put(uuid, again)
        except Exception:
            log.exception("scheduler %s is tried again", uuid)
            self.due.put(uuid, again)

    # -- targets

    async def _follow_for_ever(self) -> None:
        while True:
            uuid = await self._fates.get()
            await self._try(lambda uuid=uuid: self._follow(uuid))  # type: ignore[misc]

    async def _follow(self, resource_uuid: str) -> None:
        """A resource is gone, or in the recycle bin: its jobs are told at once, not at their next run."""
        found = await self.cloud.ports["views"].holding("scheduler_job", "targets", resource_uuid, "target_uuid")
        for job_uuid in found if self.cloud.leases.owns(resource_uuid) else ():

            async def tell(unit: Unit, job_uuid: str = job_uuid) -> None:
                job = await unit.find(SchedulerJob, job_uuid)
                mine = [t for t in job.targets if t.target_uuid == resource_uuid] if job is not None else []
                if job is not None and mine:
                    await follow(unit, job, mine[0])

            await self.decide("what it acts on has changed", tell)

    # -- old runs

    async def look(self) -> None:
        """Forget runs that ended longer ago than the setting says, and see to what was left behind."""
        await self.running.resume()
        days = int(await current(self.cloud, "scheduler", "history.days"))
        before = self.cloud.now() - days * DAY
        for uuid in await self.cloud.ports["views"].earlier("scheduler_occurrence", "finish_date", before, FORGOTTEN):

            async def forget(unit: Unit, uuid: str = uuid) -> None:
                found = await unit.find(SchedulerOccurrence, uuid)
                if found is not None and found.state not in GOING:
                    found.remove()

            await self.decide(f"it ended more than {days} days ago", forget)
