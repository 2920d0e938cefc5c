"""Removes images for good: one from the recycle bin with all its copies, or the copies on one backup storage."""

from __future__ import annotations

from typing import Any

from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageStatus, must_move_bits
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.image_copies import drop_copy
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow, submit
from zcloud.processes.storage.add_image import delete_task, install_path


def copy_step(number: int, storage_uuid: str) -> Step:
    """Remove the file on one backup storage; its room is free in the same append."""

    async def do(unit: Unit, job: Job) -> Task | None:
        image = await unit.get(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, storage_uuid)
        if storage is None:
            return None
        copy = (await unit.companion(ImageFacts, image)).copy_on(storage_uuid)
        path = copy.install_path if copy is not None and copy.install_path else install_path(storage, image)
        return delete_task(unit, storage, path)

    async def done(unit: Unit, job: Job, result: Any) -> None:
        image = await unit.get(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, storage_uuid)
        if storage is not None:
            await drop_copy(unit, image, storage, keep=True)

    return Step(f"delete_{number}", do, done, tolerant=True)


async def expunge(unit: Unit, image: Image) -> None:
    """Order it; the storages must be able to do it now. Raises FAILED_PRECONDITION."""
    image.must_not_be_deleting()
    facts = await unit.companion(ImageFacts, image)
    facts.must_be(image, ImageStatus.DELETED, "expunged")
    await must_reach_copies(unit, facts)
    await submit(unit, "expunge_image", image, {"copies": [copy.backup_storage_uuid for copy in facts.copies]})


async def must_reach_copies(unit: Unit, facts: ImageFacts) -> None:
    """Every storage that has a copy is Enabled and Connected (BS-08, BS-09)."""
    for copy in facts.copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is not None:
            must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))


class ExpungeImage(Workflow, name="expunge_image", version=1, title="expunge image"):
    """Copies of it in the caches of hosts stay, for the volumes that rest on them (IMG-02)."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(copy_step(n, uuid) for n, uuid in enumerate(args["copies"], 1))

    async def begin(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        facts = await unit.companion(ImageFacts, image)
        facts.must_be(image, ImageStatus.DELETED, "expunged")
        await must_reach_copies(unit, facts)
        image.begin_deletion(job.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        (await unit.get(Image, job.resource_uuid)).remove()

    async def fail(self, unit: Unit, job: Job) -> None:
        (await unit.get(Image, job.resource_uuid)).abort_deletion(job.error)


class DeleteImageCopy(Workflow, name="delete_image_copy", version=1, title="delete the copy of image"):
    """Because its backup storage is deleted; an image whose last copy goes is gone as well (BS-16)."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return (copy_step(1, args["backup_storage_uuid"]),)

    async def begin(self, unit: Unit, job: Job) -> None:
        await unit.get(Image, job.resource_uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, job.args["backup_storage_uuid"])
        if storage is not None:
            await drop_copy(unit, image, storage)
