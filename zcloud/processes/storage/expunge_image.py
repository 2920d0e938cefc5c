"""Removes images for good: from the recycle bin with all copies or some, or the copies on one backup storage."""

from __future__ import annotations

from typing import Any

from zcloud.domain.storage import image_bin
from zcloud.domain.storage.backup_storage import (
    BackupStorage,
    BackupStorageLeftovers,
    BackupStorageStatus,
    must_move_bits,
)
from zcloud.domain.storage.image import Image, ImageCopy, ImageFacts, ImageStatus
from zcloud.domain.storage.image_copies import drop_copy
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Task, Workflow, submit
from zcloud.processes.operations.deletion import STEPS, on_delete
from zcloud.processes.storage.add_image import install_path
from zcloud.processes.storage.iso_drives import EJECT_SECONDS, next_drive
from zcloud.processes.storage.reach import delete_task


def _named(job: Job) -> tuple[str, ...]:
    """The backup storages whose copies the job removes; none: all."""
    one = job.args.get("backup_storage_uuid", "")
    return (one,) if one else tuple(job.args.get("backup_storage_uuids", ()))


async def _next(unit: Unit, job: Job) -> tuple[Image, ImageCopy, BackupStorage] | None:
    """The first copy that is still there; only those that the job names, where it names some."""
    image = await unit.get(Image, job.resource_uuid)
    only = _named(job)
    for copy in (await unit.companion(ImageFacts, image)).copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is not None and (not only or storage.uuid in only):
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
    """Copies that could not be removed are removed when their storages are back; what they took is free."""
    assert isinstance(image, Image)
    for copy in (await unit.companion(ImageFacts, image)).copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is not None:
            path = copy.install_path or install_path(storage, image)
            (await unit.companion(BackupStorageLeftovers, storage)).leave(path)
            await drop_copy(unit, image, storage, keep=True)


async def expunge(unit: Unit, image: Image, uuids: tuple[str, ...] = (), parent: str = "") -> None:
    """Order it, of these copies or of all in the recycle bin; their storages must be able to do it now.

    parent: the job that orders it. Raises FAILED_PRECONDITION.
    """
    facts = await unit.companion(ImageFacts, image)
    going = image_bin.to_expunge(image, facts, uuids)
    await must_reach_copies(unit, going)
    if len(going) == len(facts.copies):
        await submit(unit, "expunge_image", image, parent=parent)
    else:
        await submit(unit, "expunge_image_copies", image, {"backup_storage_uuids": list(going)}, parent=parent)


async def must_reach_copies(unit: Unit, uuids: tuple[str, ...]) -> None:
    """Each of these storages is Enabled and Connected (BS-08, BS-09)."""
    for uuid in uuids:
        storage = await unit.find(BackupStorage, uuid)
        if storage is not None:
            must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))


class ExpungeImage(Workflow, name="expunge_image", version=1, title="expunge image"):
    """Copies of it in the caches of hosts stay, for the volumes that rest on them (IMG-02)."""

    removes = True
    table = (COPIES,)

    async def begin(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        facts = await unit.companion(ImageFacts, image)
        facts.must_be(image, ImageStatus.DELETED, "expunged")
        await must_reach_copies(unit, tuple(copy.backup_storage_uuid for copy in facts.copies))
        image.begin_deletion(job.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        (await unit.get(Image, job.resource_uuid)).remove()

    async def fail(self, unit: Unit, job: Job) -> None:
        (await unit.get(Image, job.resource_uuid)).abort_deletion(job.error)


class ExpungeImageCopies(Workflow, name="expunge_image_copies", version=1, title="expunge copies of image"):
    """args: backup_storage_uuids. The image lives on where another copy is left, in the recycle bin or out of it."""

    removes = True
    table = (COPIES,)

    async def begin(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        facts = await unit.companion(ImageFacts, image)
        going = image_bin.to_expunge(image, facts, _named(job))
        await must_reach_copies(unit, going)
        facts.begin_expunge(going)

    async def succeed(self, unit: Unit, job: Job) -> None:
        image = await unit.find(Image, job.resource_uuid)
        if image is not None and not (await unit.companion(ImageFacts, image)).copies:
            image.remove()

    async def fail(self, unit: Unit, job: Job) -> None:
        image = await unit.find(Image, job.resource_uuid)
        if image is not None:
            (await unit.companion(ImageFacts, image)).abort_expunge(_named(job))


class DeleteImageCopyOnce(Workflow, name="delete_image_copy", version=1, title="delete the copy of image"):
    """As it was before drives were emptied."""

    removes = True
    table = (COPIES,)

    async def begin(self, unit: Unit, job: Job) -> None:
        await unit.get(Image, job.resource_uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, job.args["backup_storage_uuid"])
        if storage is not None:
            await drop_copy(unit, image, storage)


async def eject_last(unit: Unit, job: Job) -> SubJob | None:
    """Only where the image goes with this copy, out of the world or into the recycle bin."""
    facts = await unit.companion(ImageFacts, await unit.get(Image, job.resource_uuid))
    others = [copy for copy in facts.copies if copy.backup_storage_uuid != job.args["backup_storage_uuid"]]
    usable = any(copy.status is not ImageStatus.DELETED for copy in others)
    return None if usable else await next_drive(unit, job)


class DeleteImageCopy(DeleteImageCopyOnce, name="delete_image_copy", version=2, title="delete the copy of image"):
    """Because its backup storage is deleted; an image whose last copy goes is gone as well (BS-16)."""

    table = (Step("eject", eject_last, timeout=EJECT_SECONDS, repeat=True, tolerant=True), COPIES)
