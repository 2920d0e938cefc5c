"""Takes back, again and again, the room of what went from image stores (BS-25)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zcloud.domain.storage.backup_storage import BackupStorageCapacity, BackupStorageStatus, unusable
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.kernel.job import JobQueue
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.watch import Watch


class ImageStoreReclaim(Watch, name="image_store_reclaim", interval=("backupStorage", "imageStore.reclaim.interval")):
    """A store from which nothing went is left alone, and so is one that is away or at work."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].where("image_store_backup_storage"):
            await self.decide("images went from it since its space was last reclaimed", self._reclaim(uuid))

    def _reclaim(self, uuid: str) -> Callable[[Unit], Awaitable[None]]:
        async def decide(unit: Unit) -> None:
            storage = await unit.find(ImageStoreBackupStorage, uuid)
            if storage is None or storage.deleting_job or (await unit.companion(JobQueue, storage)).jobs:
                return
            away = unusable(storage, await unit.companion(BackupStorageStatus, storage))
            if not away and (await unit.companion(BackupStorageCapacity, storage)).reclaimable:
                await submit(unit, "reclaim_space", storage)

        return decide
