"""Collects garbage in image caches: copies of images that are gone, on which no volume rests any more (IMG-02)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from zcloud.domain.compute.vm_cd_roms import VmCdRoms
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.infrastructure.host import Host, HostStatus, Status
from zcloud.domain.storage import allocation
from zcloud.domain.storage.cached_images import count, image_of, volumes_beside
from zcloud.domain.storage.host_image_cache import CachedImage, HostImageCache
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.image_cache import ImageCache
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity
from zcloud.domain.storage.primary_storage_state import SERVES
from zcloud.domain.storage.volume import Volume
from zcloud.kernel.errors import Reason, Refused, precondition
from zcloud.kernel.job import Job, JobQueue
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Task, Workflow, submit
from zcloud.processes.watch import Watch, log
from zcloud.v1.image_task_pb2 import DeleteCachedImageResult, DeleteCachedImageTask


async def is_garbage(unit: Unit, storage: PrimaryStorage, host: Host, cached: CachedImage) -> bool:
    """The image is no more, no volume there was made from it, and no VM there has it in a drive.

    While it lives it serves the next VM.
    """
    image_uuid = image_of(cached)
    if await _lives(unit, cached):
        return False
    for volume in await volumes_beside(unit, storage, host):
        if volume.image_uuid == image_uuid or await _in_drive(unit, volume, image_uuid):
            return False
    return True


async def _lives(unit: Unit, cached: CachedImage) -> bool:
    image = await unit.find(Image, image_of(cached))
    return image is not None and image.cache_name == cached.name


async def _in_drive(unit: Unit, volume: Volume, image_uuid: str) -> bool:
    vm = await unit.find(VmInstance, volume.vm_instance_uuid) if volume.vm_instance_uuid else None
    return vm is not None and image_uuid in (await unit.companion(VmCdRoms, vm)).iso_uuids


async def garbage(unit: Unit, storage: PrimaryStorage) -> AsyncIterator[tuple[Host, CachedImage]]:
    """All that could be removed now: on hosts that are connected, of a storage that is not in maintenance."""
    if storage.state not in SERVES:
        return
    for uuid in (await unit.companion(PrimaryStorageCapacity, storage)).hosts:
        host = await unit.find(Host, uuid)
        if host is None or (await unit.companion(HostStatus, host)).status is not Status.CONNECTED:
            continue
        for cached in (await unit.companion(HostImageCache, host)).cached_images:
            if cached.primary_storage_uuid == storage.uuid and await is_garbage(unit, storage, host, cached):
                yield host, cached


async def next_garbage(unit: Unit, job: Job) -> SubJob | None:
    """The next of it; a host that could not remove its own is left alone."""
    storage = await unit.get(PrimaryStorage, job.resource_uuid)
    async for host, cached in garbage(unit, storage):
        if host.uuid not in job.passed_over:
            args = {"primary_storage_uuid": storage.uuid, "name": cached.name}
            return SubJob("drop_cached_image", host, args)
    return None


class CleanUpImageCache(Workflow, name="clean_up_image_cache", version=1, title="clean up the image cache of"):
    """A host that cannot remove its own is passed over, and looked at again the next time."""

    table = (Step("collect", next_garbage, timeout=6 * 3600, repeat=True, tolerant=True),)


# -- one cached image on one host


async def _books(unit: Unit, job: Job) -> tuple[PrimaryStorage, Host, HostImageCache]:
    host = await unit.get(Host, job.resource_uuid)
    storage = await unit.get(PrimaryStorage, job.args["primary_storage_uuid"])
    return storage, host, await unit.companion(HostImageCache, host)


async def remove(unit: Unit, job: Job) -> Task | None:
    """Remove the file of what was taken out of the books when the job began."""
    _, _, cache = await _books(unit, job)
    going = cache.going(job.args["primary_storage_uuid"], job.args["name"])
    return Task(job.resource_uuid, DeleteCachedImageTask(cache_path=going.path)) if going is not None else None


async def removed(unit: Unit, job: Job, result: DeleteCachedImageResult) -> None:
    """Its room is free in the same append."""
    del result
    storage, host, cache = await _books(unit, job)
    cache.drop(storage.uuid, job.args["name"])
    await allocation.unlist(unit, storage, host, job.args["name"])
    await allocation.release(unit, storage, host, f"image/{job.args['name']}")


class DropCachedImage(Workflow, name="drop_cached_image", version=1, title="drop a cached image of"):
    """Marked before its file is removed, so that no VM that starts meanwhile counts on it."""

    table = (Step("remove", remove, removed, timeout=300),)

    async def begin(self, unit: Unit, job: Job) -> None:
        storage, host, cache = await _books(unit, job)
        storage.must_serve(f"cached image {job.args['name']} cannot be removed")
        cached = cache.find(storage.uuid, job.args["name"])
        if cached is None or not await is_garbage(unit, storage, host, cached):
            text = f'the cached image {job.args["name"]} on host "{host.name}" is needed, or gone already'
            raise precondition(Reason.STILL_IN_USE, text)
        cache.begin_drop(storage.uuid, cached.name)
        # Written in the same append as every volume's claim there: of two decisions at a time one is taken again.
        await allocation.claim_again(unit, storage, host, f"image/{cached.name}")

    async def fail(self, unit: Unit, job: Job) -> None:
        host = await unit.find(Host, job.resource_uuid)
        if host is not None:
            (await unit.companion(HostImageCache, host)).abort_drop(job.args["primary_storage_uuid"], job.args["name"])


class ImageCacheCollection(
    Watch, name="image_cache_collection", interval=("primaryStorage", "imageCache.garbageCollector.interval")
):
    """Every primary storage, one after another."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].where("primary_storage"):
            try:
                await self.decide("primaryStorage/imageCache.garbageCollector.interval is over", _collect(uuid))
            except Refused as refused:
                log.info("the image cache of primary storage %s is not cleaned up: %s", uuid, refused.message)


def _collect(uuid: str) -> Callable[[Unit], Awaitable[None]]:
    async def decide(unit: Unit) -> None:
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is not None and not storage.deleting_job and not (await unit.companion(JobQueue, storage)).jobs:
            await clean_up(unit, storage)

    return decide


async def _count(unit: Unit, storage: PrimaryStorage) -> None:
    """What people see is what the collection finds: of images that are gone, and of those that nobody saw yet."""
    for uuid in (await unit.companion(PrimaryStorageCapacity, storage)).hosts:
        host = await unit.find(Host, uuid)
        if host is None:
            continue
        for cached in (await unit.companion(HostImageCache, host)).cached_images:
            if cached.primary_storage_uuid == storage.uuid:
                seen = await unit.find(ImageCache, *allocation.cache_uuids_of(storage, host, cached.name))
                if seen is None or not await _lives(unit, cached):
                    await count(unit, storage, host, cached)


async def clean_up(unit: Unit, storage: PrimaryStorage) -> None:
    """Order it; there is no job where there is nothing to remove."""
    await _count(unit, storage)
    async for _ in garbage(unit, storage):
        await submit(unit, "clean_up_image_cache", storage, {"mode": "Enforcing"})
        return
