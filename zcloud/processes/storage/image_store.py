"""What only image stores can: tell what they hold, take back room, give images to anybody who is told where."""

from __future__ import annotations

from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity, BackupStorageStatus, unusable
from zcloud.domain.storage.found_images import FoundImage, take_in
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
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


async def unexport(unit: Unit, job: Job) -> Task:
    """The name leads nowhere any more."""
    image, storage = await unit.get(Image, job.resource_uuid), await _store(unit, job)
    task = DeleteExportedImageTask(target=reach(unit, storage), url=storage.url, image_uuid=image.uuid)
    return Task(NODE, task)


async def unexported(unit: Unit, job: Job, result: DeleteExportedImageResult) -> None:
    """Nobody is told it any more."""
    image, storage = await unit.get(Image, job.resource_uuid), await _store(unit, job)
    (await unit.companion(ImageFacts, image)).export(storage.uuid, "", "")


class ExportImage(Workflow, name="export_image", version=1, title="export image"):
    """args: backup_storage_uuid."""

    table = (Step("export", export, exported, undo=unexport, undone=unexported, timeout=LONG),)


class DeleteExportedImage(Workflow, name="delete_exported_image", version=1, title="end the export of image"):
    """args: backup_storage_uuid."""

    table = (Step("unexport", unexport, unexported, timeout=300),)


async def end_exports(unit: Unit, image: Image) -> None:
    """What lies in the recycle bin is given to nobody. Where its store is away now, that ends with its expunging."""
    asked = unit.job_uuid
    for copy in (await unit.companion(ImageFacts, image)).copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is None or not copy.export_url or copy.status is not ImageStatus.DELETED:
            continue
        if not unusable(storage, await unit.companion(BackupStorageStatus, storage)):
            await submit(unit, "delete_exported_image", image, {"backup_storage_uuid": storage.uuid})
    # Who deletes it waits for what was asked for.
    unit.job_uuid = asked


# -- the end


async def stop(unit: Unit, job: Job) -> Task | None:
    """Its server ends with it, where it can be reached."""
    storage = await unit.get(BackupStorage, job.resource_uuid)
    return Task(NODE, StopImageStoreTask(target=reach(unit, storage), url=storage.url))


STEPS["image_store_backup_storage"] = (IMAGES, Step("stop", stop, timeout=60, forgive=("do",)))
