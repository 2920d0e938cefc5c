"""Removes images for good: one from the recycle bin with all its copies, or the copies on one backup storage."""

from __future__ import annotations

from typing import Any

from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageStatus, must_move_bits
from zcloud.domain.storage.image import Image, ImageCopy, ImageFacts, ImageStatus
from zcloud.domain.storage.image_copies import drop_copy
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow, submit
from zcloud.processes.operations.deletion import STEPS, on_delete
from zcloud.processes.storage.add_image import install_path
from zcloud.processes.storage.reach import delete_task


async def _next(unit: Unit, job: Job) -> tuple[Image, ImageCopy, BackupStorage] | None:
    """The first copy that is still there; only those of one backup storage where the job names one."""
    image = await unit.get(Image, job.resource_uuid)
    only = job.args.get("backup_storage_uuid", "")
    for copy in (await unit.companion(ImageFacts, image)).copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is not None and only in ("", storage.uuid):
            return image, copy, storage
    return None


async def delete_copy(unit: Unit, job: Job) -> Task | None:
    """Remove the file."""
    found = await _next(unit, job)
    if found is None:
        return None
    image, copy, storage = found
    return delete_task(unit, storage, copy.install_path or install_path(storage, image))


async def copy_deleted(unit: Unit, job: Job, result: Any) -> None:
    """Its room is free in the same append; the image itself goes when the job ends."""
    found = await _next(unit, job)
    if found is not None:
        image, _, storage = found
        await drop_copy(unit, image, storage, keep=True)


COPIES = Step("delete_copies", delete_copy, copy_deleted, repeat=True, tolerant=True)
# An image that goes with its account.
STEPS["image"] = (COPIES,)


@on_delete("image")
async def drop_all_copies(unit: Unit, image: Resource) -> None:
    """Copies that could not be removed are given up; what they took is free."""
    assert isinstance(image, Image)
    for copy in (await unit.companion(ImageFacts, image)).copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is not None:
            await drop_copy(unit, image, storage, keep=True)


async def expunge(unit: Unit, image: Image) -> None:
    """Order it; the storages must be able to do it now. Raises FAILED_PRECONDITION."""
    image.must_not_be_deleting()
    facts = await unit.companion(ImageFacts, image)
    facts.must_be(image, ImageStatus.DELETED, "expunged")
    await must_reach_copies(unit, facts)
    await submit(unit, "expunge_image", image)


async def must_reach_copies(unit: Unit, facts: ImageFacts) -> None:
    """Every storage that has a copy is Enabled and Connected (BS-08, BS-09)."""
    for copy in facts.copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is not None:
            must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))


class ExpungeImage(Workflow, name="expunge_image", version=1, title="expunge image"):
    """Copies of it in the caches of hosts stay, for the volumes that rest on them (IMG-02)."""

    table = (COPIES,)

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

    table = (COPIES,)

    async def begin(self, unit: Unit, job: Job) -> None:
        await unit.get(Image, job.resource_uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, job.args["backup_storage_uuid"])
        if storage is not None:
            await drop_copy(unit, image, storage)
