"""Makes a data volume from an image: a thin file on top of the cached image, like a VM's root volume (VOL-03)."""

from __future__ import annotations

from zcloud.domain.storage import allocation
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.snapshots import forget_volume
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.domain.storage.volume_room import where
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.start_steps import CACHE_SECONDS
from zcloud.processes.storage import image_cache
from zcloud.processes.storage.create_data_volume import delete
from zcloud.processes.storage.volume_tasks import files
from zcloud.v1.image_task_pb2 import CacheImageResult
from zcloud.v1.volume_task_pb2 import CreateRootVolumeResult, CreateRootVolumeTask


async def _parts(unit: Unit, job: Job) -> tuple[Volume, VolumeStatus, Image, PrimaryStorage]:
    volume = await unit.get(Volume, job.resource_uuid)
    disk = await files(unit, volume)
    storage = await unit.get(PrimaryStorage, disk.primary_storage_uuid)
    return volume, disk, await unit.get(Image, volume.image_uuid), storage


async def cache_image(unit: Unit, job: Job) -> Task | None:
    """The image, unless the host has it."""
    _, disk, image, storage = await _parts(unit, job)
    await must_reach(unit, disk.host_uuid, "create the volume")
    return await image_cache.cache_task(unit, image, storage, disk.host_uuid)


async def image_cached(unit: Unit, job: Job, result: CacheImageResult) -> None:
    """It stays, whatever becomes of the volume."""
    _, disk, image, storage = await _parts(unit, job)
    await image_cache.cached(unit, image, storage, disk.host_uuid, result)


async def create(unit: Unit, job: Job) -> Task | None:
    """The thin file."""
    volume, disk, image, storage = await _parts(unit, job)
    if disk.status is not VolumeState.CREATING:
        return None
    await must_reach(unit, disk.host_uuid, "create the volume")
    return Task(
        disk.host_uuid,
        CreateRootVolumeTask(
            volume_uuid=volume.uuid,
            path=disk.install_path,
            backing_path=image_cache.cache_path(storage, image),
            backing_format=image.format.suffix,
            size=volume.size,
        ),
    )


async def created(unit: Unit, job: Job, result: CreateRootVolumeResult) -> None:
    """It is there."""
    volume = await unit.get(Volume, job.resource_uuid)
    disk = await files(unit, volume)
    if disk.status is VolumeState.CREATING:
        disk.instantiated(result.actual_size, await image_cache.used(unit, volume.image_uuid, disk, stands=True))


class CreateDataVolumeFromTemplate(
    Workflow, name="create_data_volume_from_template", version=1, title="create volume from template"
):
    """One that cannot be made leaves nothing but perhaps the cached image."""

    table = (
        Step("cache_image", cache_image, image_cached, timeout=CACHE_SECONDS),
        Step("create", create, created, undo=delete, timeout=300),
    )

    async def fail(self, unit: Unit, job: Job) -> None:
        volume = await unit.get(Volume, job.resource_uuid)
        found = await where(unit, await files(unit, volume))
        image = await unit.last(Image, volume.image_uuid)
        if found is not None and image is not None:
            storage, host = found
            await allocation.release_cache(unit, storage, host, image)
        unit.because(volume, f"it could not be created: {job.error}")
        await forget_volume(unit, volume)
