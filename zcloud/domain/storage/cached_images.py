"""Who stands on which cached image: told in the appends in which volumes come, are made anew and go (IMG-02)."""

from __future__ import annotations

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation
from zcloud.domain.storage.host_image_cache import CachedImage, HostImageCache
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.image_cache import ImageCache
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.kernel.unit import Unit

UNMADE = (VolumeState.NOT_INSTANTIATED, VolumeState.CREATING)


async def list_cached(
    unit: Unit, storage: PrimaryStorage, host: Host, cached: CachedImage, *, on_share: bool = False
) -> ImageCache:
    """What is seen of a cached image; it begins with this where the books are older than that."""
    uuids = allocation.cache_uuids_of(storage, host, cached.name)
    found = await unit.find(ImageCache, *uuids)
    if found is None:
        found = await unit.new(ImageCache, uuids.uuid, account_uuid=storage.account_uuid)
        image_uuid = image_of(cached)
        image = await unit.last(Image, image_uuid)
        found.create(
            name=image.name if image is not None else image_uuid,
            where=(storage.zone_uuid, storage.uuid, "" if storage.spans_hosts else host.uuid),
            image_uuid=image_uuid,
            path=cached.path,
            size=cached.size,
            on_share=on_share,
        )
    return found


def image_of(cached: CachedImage) -> str:
    """The uuid of the image, which may be gone."""
    return cached.name.partition("-")[0]


async def use(unit: Unit, storage: PrimaryStorage, host: Host, image: Image, volume_uuid: str = "") -> str:
    """The image was used there; the uuid of what is cached, or nothing where the books have forgotten it.

    volume_uuid: of what stands on it from now on.
    """
    keeper = await allocation.image_keeper(unit, storage, host, image)
    cached = (await unit.companion(HostImageCache, keeper)).find(storage.uuid, image.cache_name)
    if cached is None:
        return ""
    entry = await list_cached(unit, storage, keeper, cached)
    entry.use(volume_uuid)
    return entry.uuid


async def rebase(unit: Unit, disk: VolumeStatus, storage: PrimaryStorage, host: Host, image: Image | None) -> None:
    """A volume was made anew: from this image, or from none."""
    stays = image is not None and disk.image_cache_uuid in allocation.cache_uuids_of(storage, host, image.cache_name)
    if not stays:
        await leave(unit, disk)
    disk.based(await use(unit, storage, host, image, "" if stays else disk.uuid) if image is not None else "")


async def leave(unit: Unit, disk: VolumeStatus) -> None:
    """A volume is going."""
    entry = await unit.find(ImageCache, disk.image_cache_uuid) if disk.image_cache_uuid else None
    if entry is not None:
        entry.leave(disk.uuid)


async def volumes_beside(unit: Unit, storage: PrimaryStorage, host: Host) -> list[Volume]:
    """All that may stand on what this host has in its cache of the storage, whatever they are made from."""
    hosts = [host]
    if storage.spans_hosts:
        uuids = (await unit.companion(PrimaryStorageCapacity, storage)).hosts
        hosts = [found for uuid in uuids if (found := await unit.find(Host, uuid)) is not None]
    keys = await allocation.volumes_on(unit, storage, hosts)
    return [volume for key in keys if (volume := await unit.last(Volume, key)) is not None]


async def count(unit: Unit, storage: PrimaryStorage, host: Host, cached: CachedImage) -> None:
    """Look for the volumes of a cached image one by one: the books of before did not say who stands on it."""
    entry = await list_cached(unit, storage, host, cached)
    standing = 0
    look = Unit(unit.cloud, unit.context, unit.now)  # those that do not stand there shall not guard the decision
    for seen in await volumes_beside(look, storage, host):
        volume = await unit.find(Volume, seen.uuid) if seen.image_uuid == entry.image_uuid else None
        disk = await unit.companion(VolumeStatus, volume) if volume is not None else None
        if disk is not None and disk.status not in UNMADE:  # those are told of when they are made
            disk.based(entry.uuid)
            standing += 1
    entry.count(standing)
