"""What only image stores can: tell what they hold, take back room, give images to anybody who is told where."""

from __future__ import annotations

from zcloud.domain.storage.backup_storage import (
    BackupStorage,
    BackupStorageCapacity,
    BackupStorageLeftovers,
    BackupStorageStatus,
)
from zcloud.domain.storage.found_images import FoundImage, take_in
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.status import Status
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import Vault
from zcloud.kernel.workflow import NODE, Step, Task, Workflow, submit
from zcloud.processes.operations.deletion import STEPS
from zcloud.processes.storage.deletion import IMAGES
from zcloud.processes.storage.reach import reach
from zcloud.v1.backup_storage_task_pb2 import (
    CleanImageStoreResult,
    CleanImageStoreTask,
    ConnectImageStoreResult,
    ConnectImageStoreTask,
    DeleteExportedImageResult,
    DeleteExportedImageTask,
    ExportImageResult,
    ExportImageTask,
    StopImageStoreTask,
)

# All that lies there may have to be read.
LONG = 6 * 3600


async def _store(unit: Unit, job: Job) -> ImageStoreBackupStorage:
    return await unit.get(ImageStoreBackupStorage, job.args.get("backup_storage_uuid") or job.resource_uuid)


def connect_store_task(unit: Unit, storage: ImageStoreBackupStorage) -> ConnectImageStoreTask:
    """Make it, see that its server runs, look at what it holds."""
    vault: Vault = unit.port("vault")
    return ConnectImageStoreTask(
        target=reach(unit, storage), url=storage.url, port=storage.server_port, token=vault.open(storage.token)
    )


async def found(
    unit: Unit, storage: ImageStoreBackupStorage, result: ConnectImageStoreResult, only: tuple[str, ...] = ()
) -> None:
    """Images that lie there are the cloud's from now on; only: these."""
    for one in result.images:
        if not only or one.uuid in only:
            names = ("uuid", "name", "description", "format", "platform", "media_type", "boot_mode", "sha256")
            path = f"{storage.url}/images/{one.uuid}/{one.uuid}.{one.format}"
            told = {name: getattr(one, name) for name in names}
            image = FoundImage(size=one.size, actual_size=one.actual_size, install_path=path, **told)
            await take_in(unit, storage, image)


async def look(unit: Unit, job: Job) -> Task:
    """What is there?"""
    return Task(NODE, connect_store_task(unit, await _store(unit, job)))


async def looked(unit: Unit, job: Job, result: ConnectImageStoreResult) -> None:
    """That is the cloud's."""
    await found(unit, await _store(unit, job), result, tuple(job.args["image_uuids"]))


class RecoverImages(Workflow, name="recover_images", version=1, title="take in the images of"):
    """args: image_uuids, all that the cloud does not know when empty."""

    table = (Step("look", look, looked, timeout=120),)


# -- room


async def clean(unit: Unit, job: Job) -> Task:
    """Remove what nothing refers to."""
    storage = await _store(unit, job)
    return Task(NODE, CleanImageStoreTask(target=reach(unit, storage), url=storage.url))


async def cleaned(unit: Unit, job: Job, result: CleanImageStoreResult) -> None:
    """What the disk has was measured."""
    capacity = await unit.companion(BackupStorageCapacity, await _store(unit, job))
    capacity.measured(result.total_capacity, result.available_capacity)


class ReclaimSpace(Workflow, name="reclaim_space", version=1, title="reclaim space of"):
    """In the storage's queue; images that come or go meanwhile wait for it, or it for them, on the store itself."""

    table = (Step("clean", clean, cleaned, timeout=LONG),)

    async def begin(self, unit: Unit, job: Job) -> None:
        (await unit.companion(BackupStorageCapacity, await _store(unit, job))).begin_reclaim()

    async def fail(self, unit: Unit, job: Job) -> None:
        storage = await unit.find(ImageStoreBackupStorage, job.resource_uuid)
        if storage is not None:
            (await unit.companion(BackupStorageCapacity, storage)).fail_reclaim()


# -- exports

# What stands for one among the leftovers of its store.
_EXPORT = "exports/"


async def export(unit: Unit, job: Job) -> Task:
    """Under a name that nobody guesses."""
    image, storage = await unit.get(Image, job.resource_uuid), await _store(unit, job)
    return Task(
        NODE,
        ExportImageTask(
            target=reach(unit, storage),
            url=storage.url,
            image_uuid=image.uuid,
            name=f"{image.uuid}.{image.format.suffix}",
        ),
    )


async def exported(unit: Unit, job: Job, result: ExportImageResult) -> None:
    """Everybody who sees the image sees where."""
    image, storage = await unit.get(Image, job.resource_uuid), await _store(unit, job)
    facts = await unit.companion(ImageFacts, image)
    facts.export(storage.uuid, storage.server_url + result.path, result.md5)
    (await unit.companion(BackupStorageLeftovers, storage)).clear(_EXPORT + image.uuid)


def _unexport_task(unit: Unit, storage: BackupStorage, image_uuid: str) -> Task:
    return Task(NODE, DeleteExportedImageTask(target=reach(unit, storage), url=storage.url, image_uuid=image_uuid))


async def unexport(unit: Unit, job: Job) -> Task:
    """The name leads nowhere any more."""
    return _unexport_task(unit, await _store(unit, job), job.resource_uuid)


async def unexported(unit: Unit, job: Job, result: DeleteExportedImageResult) -> None:
    """Nobody is told it any more."""
    image, storage = await unit.get(Image, job.resource_uuid), await _store(unit, job)
    (await unit.companion(ImageFacts, image)).export(storage.uuid, "", "")


class ExportImage(Workflow, name="export_image", version=1, title="export image"):
    """args: backup_storage_uuid."""

    table = (Step("export", export, exported, undo=unexport, undone=unexported, timeout=LONG),)


class DeleteExportedImageOnce(Workflow, name="delete_exported_image", version=1, title="end the export of image"):
    """As it was when one that failed was forgotten."""

    table = (Step("unexport", unexport, unexported, timeout=300),)


class DeleteExportedImage(
    DeleteExportedImageOnce, name="delete_exported_image", version=2, title="end the export of image"
):
    """args: backup_storage_uuid."""

    async def fail(self, unit: Unit, job: Job) -> None:
        image, storage = await unit.find(Image, job.resource_uuid), await unit.find(BackupStorage, _named(job))
        if image is not None and storage is not None and _in_bin(await unit.companion(ImageFacts, image), storage):
            (await unit.companion(BackupStorageLeftovers, storage)).leave(_EXPORT + image.uuid)


def _named(job: Job) -> str:
    return str(job.args["backup_storage_uuid"])


def _in_bin(facts: ImageFacts, storage: BackupStorage) -> bool:
    """It is given to anybody, and should be given to nobody."""
    copy = facts.copy_on(storage.uuid)
    return copy is not None and copy.status is ImageStatus.DELETED and bool(copy.export_url)


async def end_exports(unit: Unit, image: Image) -> None:
    """What lies in the recycle bin is given to nobody. A store that is away is told when it is back."""
    asked = unit.job_uuid
    facts = await unit.companion(ImageFacts, image)
    for copy in facts.copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is None or not _in_bin(facts, storage):
            continue
        # Also of one that is Disabled: that shall give nothing away.
        if (await unit.companion(BackupStorageStatus, storage)).status is Status.CONNECTED:
            await submit(unit, "delete_exported_image", image, {"backup_storage_uuid": storage.uuid})
        else:
            (await unit.companion(BackupStorageLeftovers, storage)).leave(_EXPORT + image.uuid)
    # Who deletes it waits for what was asked for.
    unit.job_uuid = asked


def owed_export(left: str) -> str:
    """The image whose export this leftover is; empty when it is a file."""
    return left.removeprefix(_EXPORT) if left.startswith(_EXPORT) else ""


def end_owed(unit: Unit, storage: BackupStorage, left: str) -> Task:
    """What should have been done when the store was away."""
    return _unexport_task(unit, storage, owed_export(left))


async def owed_ended(unit: Unit, storage: BackupStorage, left: str) -> None:
    """The image may be out of the recycle bin meanwhile: it is exported anew by whoever wants that."""
    image = await unit.find(Image, owed_export(left))
    if image is not None:
        (await unit.companion(ImageFacts, image)).export(storage.uuid, "", "")


# -- the end


async def stop(unit: Unit, job: Job) -> Task | None:
    """Its server ends with it, where it can be reached."""
    storage = await unit.get(BackupStorage, job.resource_uuid)
    return Task(NODE, StopImageStoreTask(target=reach(unit, storage), url=storage.url))


STEPS["image_store_backup_storage"] = (IMAGES, Step("stop", stop, timeout=60, forgive=("do",)))
