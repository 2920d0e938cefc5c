"""Brings images into the cache of a host's primary storage, for whatever workflow needs them there (IMG-02)."""

from __future__ import annotations

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.operations.global_config import setting_bytes
from zcloud.domain.storage import allocation, cached_images
from zcloud.domain.storage.host_image_cache import HostImageCache
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.image_copies import usable_copy
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.domain.storage.storage_network import data_address
from zcloud.domain.storage.volume import VolumeStatus
from zcloud.domain.storage.volume_room import where
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Task
from zcloud.processes.storage.reach import reach, store_access
from zcloud.v1.image_task_pb2 import CacheImageResult, CacheImageTask


def cache_path(storage: PrimaryStorage, image: Image) -> str:
    """Where the cached image lies on a host: what a root volume's backing file is."""
    name = image.cache_name
    return f"{storage.directory}/imagecache/template/{name}/{name}.{image.format.suffix}"


async def cache_task(unit: Unit, image: Image, storage: PrimaryStorage, host_uuid: str) -> Task | None:
    """What the host must do to have the image in its cache; None when it is there. Changes nothing.

    A cached image is used even when no backup storage can give it any more (IMG-10); otherwise usable_copy refuses.
    """
    host = await allocation.image_keeper(unit, storage, await unit.get(Host, host_uuid), image)
    if (await unit.companion(HostImageCache, host)).find(storage.uuid, image.cache_name) is not None:
        return None
    source, path = await usable_copy(unit, image, host.zone_uuid, storage)
    facts = await unit.companion(ImageFacts, image)
    task = CacheImageTask(
        source_path=path,
        cache_path=cache_path(storage, image),
        sha256=facts.sha256,
        actual_size=facts.actual_size,
        rate_limit=await setting_bytes(unit, "primaryStorage", "imageCache.rateLimit", storage),
    )
    if isinstance(source, ImageStoreBackupStorage):
        task.store.CopyFrom(store_access(unit, source, await data_address(unit, source)))
        task.image_uuid = image.uuid
    else:
        task.source.CopyFrom(reach(unit, source, await data_address(unit, source)))
    if isinstance(source, SftpBackupStorage):
        task.shared_path = source.seen_at(storage, path)
    return Task(host.uuid, task)


async def cached(unit: Unit, image: Image, storage: PrimaryStorage, host_uuid: str, result: CacheImageResult) -> None:
    """The report of cache_task: the image lies in the host's cache, and its room is booked."""
    host = await unit.get(Host, host_uuid)
    facts = await unit.companion(ImageFacts, image)
    size = result.actual_size or facts.actual_size
    await allocation.keep_cached(unit, storage, host, image, cache_path(storage, image), size)
    keeper = await allocation.image_keeper(unit, storage, host, image)
    found = (await unit.companion(HostImageCache, keeper)).find(storage.uuid, image.cache_name)
    if found is not None:
        await cached_images.list_cached(unit, storage, keeper, found, on_share=result.on_share)


async def used(unit: Unit, image_uuid: str, disk: VolumeStatus, *, stands: bool) -> str:
    """A job has used an image from the cache where this volume lies. stands: the volume was made from it.

    What the volume stands on. The image may be gone by now, or the cache forgotten: then there is nothing to be told.
    """
    found = await where(unit, disk)
    image = await unit.last(Image, image_uuid)
    if found is None or image is None:
        return ""
    uuid = await cached_images.use(unit, *found, image, disk.uuid if stands else "")
    return uuid if stands else ""
