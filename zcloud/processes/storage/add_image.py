"""Adds an image: its backup storage fetches and checks it; nothing is kept of one that fails (IMG-05, IMG-07)."""

from __future__ import annotations

from zcloud.domain.operations.global_config import setting_list
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.image_copies import room_on
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Step, Task, Workflow
from zcloud.processes.storage.reach import reach
from zcloud.v1.image_task_pb2 import DeleteImageTask, DownloadImageResult, DownloadImageTask

# 72 hours: an image may be big and its source far away.
TIMEOUT = 72 * 3600


def install_path(storage: BackupStorage, image: Image) -> str:
    """Where the storage puts an image."""
    return f"{storage.url}/images/{image.uuid}/{image.uuid}.{image.format.suffix}"


async def _both(unit: Unit, job: Job) -> tuple[Image, BackupStorage]:
    image = await unit.get(Image, job.resource_uuid)
    return image, await unit.get(BackupStorage, job.args["backup_storage_uuid"])


async def download(unit: Unit, job: Job) -> Task:
    """The node's own agent has the storage fetch it."""
    image, storage = await _both(unit, job)
    return Task(
        NODE,
        DownloadImageTask(
            target=reach(unit, storage),
            storage_url=storage.url,
            image_uuid=image.uuid,
            image_url=image.url,
            format=image.format.suffix,
            sha256=image.expected_sha256,
            max_bytes=max(1, await room_on(unit, storage)),
            allowed_networks=await setting_list(unit, "image", "download.allowedNetworks"),
            allowed_paths=await setting_list(unit, "image", "download.allowedPaths"),
        ),
    )


async def downloaded(unit: Unit, job: Job, result: DownloadImageResult) -> None:
    """It is there, and its room is booked in the same append."""
    image, storage = await _both(unit, job)
    capacity = await unit.companion(BackupStorageCapacity, storage)
    if result.actual_size > capacity.available_capacity:
        # Others came meanwhile: each was told of the same room.
        text = f'image "{image.name}" has {result.actual_size} bytes, of {capacity.available_capacity} left'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text)
    capacity.store(image.uuid, result.actual_size)
    (await unit.companion(ImageFacts, image)).ready(
        storage.uuid,
        install_path=result.install_path,
        size=result.size,
        actual_size=result.actual_size,
        sha256=result.sha256,
    )


async def discard(unit: Unit, job: Job) -> Task:
    """Whatever may have come is removed."""
    image, storage = await _both(unit, job)
    return delete_task(unit, storage, install_path(storage, image))


def delete_task(unit: Unit, storage: BackupStorage, path: str) -> Task:
    """Remove an image's file; one that is not there is removed already."""
    return Task(NODE, DeleteImageTask(target=reach(unit, storage), storage_url=storage.url, install_path=path))


class AddImage(Workflow, name="add_image", version=1, title="add image"):
    """On one backup storage."""

    table = (Step("download", download, downloaded, undo=discard, timeout=TIMEOUT),)

    async def fail(self, unit: Unit, job: Job) -> None:
        image, storage = await _both(unit, job)
        (await unit.companion(BackupStorageCapacity, storage)).free(image.uuid)
        unit.because(image, f"it could not be added: {job.error}")
        image.remove()
