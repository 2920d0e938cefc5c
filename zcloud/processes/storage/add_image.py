"""Adds an image: its backup storage fetches and checks it; nothing is kept of one that fails (IMG-05, IMG-07).

Copies of an image on further storages come about in the same way, from a storage that has it (IMG-12).
"""

from __future__ import annotations

import json

from zcloud.domain.operations.global_config import setting_bytes, setting_list
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity, BackupStorageLeftovers
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.image_copies import copy_source, drop_copy, room_on
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.storage_network import sync_address
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.job import Job, StepState
from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import Vault
from zcloud.kernel.workflow import NODE, Step, Task, Workflow
from zcloud.processes.storage.reach import delete_task, is_store, reach, store_access
from zcloud.v1.image_task_pb2 import DownloadImageResult, DownloadImageTask

# 72 hours: an image may be big and its source far away.
TIMEOUT = 72 * 3600
# What is left behind on a storage that is away is removed when it is back; nobody has to be asked for that.
AWAY = ("UNREACHABLE", "NOT_FOUND", "REFUSED", "TIMEOUT")


def install_path(storage: BackupStorage, image: Image) -> str:
    """Where the storage puts an image."""
    return f"{storage.url}/images/{image.uuid}/{image.uuid}.{image.format.suffix}"


async def both(unit: Unit, job: Job) -> tuple[Image, BackupStorage]:
    image = await unit.get(Image, job.resource_uuid)
    return image, await unit.get(BackupStorage, job.args["backup_storage_uuid"])


async def download_task(unit: Unit, image: Image, storage: BackupStorage, sha256: str) -> DownloadImageTask:
    """What every way of fetching it has in common."""
    return DownloadImageTask(
        target=reach(unit, storage),
        storage_url=storage.url,
        image_uuid=image.uuid,
        format=image.format.suffix,
        sha256=sha256,
        max_bytes=max(1, await room_on(unit, storage)),
        rate_limit=await setting_bytes(unit, "image", "download.rateLimit"),
        image_store=is_store(storage),
        metadata=_metadata(image) if is_store(storage) else "",
    )


def _metadata(image: Image) -> str:
    """What makes an image of a file that is found in a store."""
    told = {
        "name": image.name,
        "description": image.description,
        "platform": image.platform.value,
        "media_type": image.media_type.value,
        "boot_mode": image.boot_mode.value,
    }
    return json.dumps(told)


async def download(unit: Unit, job: Job) -> Task:
    """The node's own agent has the storage fetch it."""
    image, storage = await both(unit, job)
    vault: Vault = unit.port("vault")
    task = await download_task(unit, image, storage, image.expected_sha256)
    task.image_url, task.upload_size, task.own_keys = image.url, image.upload_size, image.own_keys
    task.username, task.password = image.username, vault.open(image.password)
    task.private_key = vault.open(image.private_key)
    task.allowed_networks.extend(await setting_list(unit, "image", "download.allowedNetworks"))
    task.allowed_paths.extend(await setting_list(unit, "image", "download.allowedPaths"))
    return Task(NODE, task)


async def _store(unit: Unit, image: Image, storage: BackupStorage, result: DownloadImageResult) -> None:
    """Its room is booked in the same append; what the disk has was measured on the way."""
    capacity = await unit.companion(BackupStorageCapacity, storage)
    if result.total_capacity:
        capacity.measured(result.total_capacity, result.available_capacity)
    kept = capacity.images.get(image.uuid, 0)
    room = capacity.available_capacity + kept
    if storage.quota:
        room = min(room, storage.quota - capacity.used + kept)
    size = result.stored_size if result.has_stored_size else result.actual_size
    if size > room:
        # Others came meanwhile: each was told of the same room.
        text = f'image "{image.name}" takes {size} bytes, of {room} left'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text)
    capacity.store(image.uuid, size)


async def downloaded(unit: Unit, job: Job, result: DownloadImageResult) -> None:
    """It is there."""
    image, storage = await both(unit, job)
    await _store(unit, image, storage, result)
    (await unit.companion(ImageFacts, image)).ready(
        storage.uuid,
        install_path=result.install_path,
        size=result.size,
        actual_size=result.actual_size,
        sha256=result.sha256,
    )


async def discard(unit: Unit, job: Job) -> Task | None:
    """Whatever may have come is removed; nothing is left to do where the storage itself was deleted."""
    image = await unit.get(Image, job.resource_uuid)
    storage = await unit.find(BackupStorage, job.args["backup_storage_uuid"])
    return delete_task(unit, storage, install_path(storage, image)) if storage is not None else None


async def _discarded(unit: Unit, job: Job, image: Image, storage: BackupStorage, step: str) -> None:
    """A file that could not be removed is removed when the storage is back."""
    state = next(s.state for s in job.steps if s.name == step)
    if state is StepState.SKIPPED:
        (await unit.companion(BackupStorageLeftovers, storage)).leave(install_path(storage, image))


class AddImageOnce(Workflow, name="add_image", version=1, title="add image"):
    """As it was before what was left behind could be removed later."""

    table = (Step("download", download, downloaded, undo=discard, timeout=TIMEOUT),)

    async def fail(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, job.args["backup_storage_uuid"])
        if storage is not None:
            (await unit.companion(BackupStorageCapacity, storage)).free(image.uuid)
            await _discarded(unit, job, image, storage, "download")
        unit.because(image, f"it could not be added: {job.error}")
        image.remove()


class AddImage(AddImageOnce, name="add_image", version=2, title="add image"):
    """On one backup storage; one that is lost meanwhile holds nobody up."""

    table = (Step("download", download, downloaded, undo=discard, timeout=TIMEOUT, out_of_reach=AWAY),)


# -- onto further storages


async def copy(unit: Unit, job: Job) -> Task:
    """The storage fetches it from one that has it; between storages of the cloud no setting is asked."""
    image, storage = await both(unit, job)
    source, path = await copy_source(unit, image, storage, job.args.get("source_uuid", ""))
    facts = await unit.companion(ImageFacts, image)
    task = await download_task(unit, image, storage, facts.sha256)
    if isinstance(source, ImageStoreBackupStorage):
        task.source_store.CopyFrom(store_access(unit, source, await sync_address(unit, source, storage)))
    else:
        task.source.CopyFrom(reach(unit, source))
        task.source_path = path
    return Task(NODE, task)


async def copied(unit: Unit, job: Job, result: DownloadImageResult) -> None:
    """It is there as well."""
    image, storage = await both(unit, job)
    await _store(unit, image, storage, result)
    (await unit.companion(ImageFacts, image)).add_copy(storage.uuid, result.install_path)


class CopyImage(Workflow, name="copy_image", version=1, title="copy image"):
    """The image stays what it is, whatever becomes of the copy."""

    table = (Step("copy", copy, copied, undo=discard, timeout=TIMEOUT, out_of_reach=AWAY),)

    async def begin(self, unit: Unit, job: Job) -> None:
        image, storage = await both(unit, job)
        source, _ = await copy_source(unit, image, storage, job.args.get("source_uuid", ""))
        if isinstance(source, ImageStoreBackupStorage):
            await sync_address(unit, source, storage)
        (await unit.companion(ImageFacts, image)).begin_copy(image, storage.uuid)
        (await unit.companion(BackupStorageCapacity, storage)).expect(image.uuid)
        (await unit.companion(BackupStorageLeftovers, storage)).clear(install_path(storage, image))

    async def fail(self, unit: Unit, job: Job) -> None:
        image = await unit.find(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, job.args["backup_storage_uuid"])
        if image is None or storage is None:
            return
        # Whether or not it had come: one that was cancelled when it was there was removed again.
        await _discarded(unit, job, image, storage, "copy")
        await drop_copy(unit, image, storage, keep=True)


# -- uploads that are given up


class DropImageUpload(Workflow, name="drop_image_upload", version=1, title="drop the upload of image"):
    """What has come of it is removed, and the image with it."""

    table = (Step("discard", discard, timeout=300, forgive=("do",)),)

    async def begin(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        (await unit.companion(ImageFacts, image)).must_be(image, ImageStatus.CREATING, "dropped")
        image.begin_deletion(job.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        storage = await unit.find(BackupStorage, job.args["backup_storage_uuid"])
        if storage is not None:
            (await unit.companion(BackupStorageCapacity, storage)).free(image.uuid)
            await _discarded(unit, job, image, storage, "discard")
        image.remove()

    async def fail(self, unit: Unit, job: Job) -> None:
        (await unit.get(Image, job.resource_uuid)).abort_deletion(job.error)
