"""Room on primary storages: claims of volumes and cached images on hosts, in the append of what needs them.

A claim changes two books at once, the host's and the storage's, so that they always agree. Everything here reads
aggregates only, so that a decision that claims can be made without waiting for anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.operations.global_config import setting_bytes
from zcloud.domain.storage import over_provisioning
from zcloud.domain.storage.claimed import is_volume, share_of
from zcloud.domain.storage.host_image_cache import HostImageCache
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.image_cache import ImageCache, cache_uuids
from zcloud.domain.storage.primary_storage import (
    PrimaryStorage,
    PrimaryStorageCapacity,
    PrimaryStorageStatus,
)
from zcloud.domain.storage.primary_storage_state import GROWS, TAKES_NEW
from zcloud.domain.storage.status import Status
from zcloud.domain.storage.storage_network_hosts import PrimaryStorageNetwork
from zcloud.domain.storage.volume import Volume, VolumeStatus
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.ids import Derived
from zcloud.kernel.unit import Unit


def image_key(image: Image) -> str:
    """The key by which a cached image claims room."""
    return f"image/{image.cache_name}"


def cache_uuids_of(storage: PrimaryStorage, host: Host, name: str) -> Derived:
    """Of what is seen of an image in the cache, by its Image.cache_name."""
    return cache_uuids(storage.uuid, "" if storage.spans_hosts else host.uuid, name)


async def lacks(
    unit: Unit,
    storage: PrimaryStorage,
    host: Host,
    size: int,
    image: Image | None = None,
    *,
    real: int = 0,
    grows: bool = False,
) -> str:
    """Why a volume of this virtual size cannot be made on the host; empty when it can.

    image: what it is made from, which needs room as well as long as it is not cached there. real: bytes that are
    written as they are, beside the volume. grows: what lies there already does, which a Disabled storage lets it.
    """
    if storage.state not in (GROWS if grows else TAKES_NEW):
        return f'primary storage "{storage.name}" is {storage.state.value}'
    if host.cluster_uuid not in storage.attached_cluster_uuids:
        return f'primary storage "{storage.name}" is not attached to the cluster of the host'
    status = await unit.companion(PrimaryStorageStatus, storage)
    if status.status is not Status.CONNECTED:
        return f'primary storage "{storage.name}" is {status.status.value}'
    percent = await over_provisioning.percent(unit, storage)
    wanted = share_of(size, percent) + real
    if image is not None:
        wanted += await _cache_need(unit, storage, await image_keeper(unit, storage, host, image), image)
    books = await unit.companion(HostStorage, host)
    reserved = await setting_bytes(unit, "primaryStorage", "reservedCapacity", storage)
    lack = books.lacks(storage.uuid, wanted, reserved, percent)
    if storage.spans_hosts and not lack:  # what other hosts have claimed is missing here as well
        lack = (await unit.companion(PrimaryStorageCapacity, storage)).lacks(wanted, reserved, percent)
    return f'primary storage "{storage.name}": {lack}' if lack else ""


async def claim(unit: Unit, storage: PrimaryStorage, host: Host, key: str, size: int, *, grows: bool = False) -> None:
    """Reserve bytes for a volume (key: its uuid); claiming the same again is no event. Raises RESOURCE_EXHAUSTED."""
    books = await unit.companion(HostStorage, host)
    share = books.shares.get(storage.uuid)
    if share is not None and share.claims.get(key) == size:
        return
    more = size - (share.claims.get(key, 0) if share is not None else 0)
    virtual, real = (more, 0) if is_volume(key) else (0, more)
    lack = await lacks(unit, storage, host, virtual, real=real, grows=grows)
    if lack:
        text = f'host "{host.name}" has no room for it: {lack}'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text)
    await _take(unit, storage, host, key, size)


async def release(unit: Unit, storage: PrimaryStorage, host: Host, key: str) -> None:
    """Give back; what is not claimed needs no event."""
    freed = (await unit.companion(HostStorage, host)).release(storage.uuid, key)
    if freed:
        capacity = await unit.companion(PrimaryStorageCapacity, storage)
        capacity.trigger(capacity.Freed(host_uuid=host.uuid, key=key, size=freed))


async def book(unit: Unit, storage: PrimaryStorage, host: Host, key: str, size: int) -> None:
    """What lies there takes this much: a fact, which is booked whether or not there was thought to be room."""
    share = (await unit.companion(HostStorage, host)).shares.get(storage.uuid)
    if share is not None and share.claims.get(key) != size:
        await _take(unit, storage, host, key, size)


async def claim_cache(unit: Unit, storage: PrimaryStorage, host: Host, image: Image) -> None:
    """Reserve room for an image that is to be cached; what is cached or claimed needs no event."""
    host = await image_keeper(unit, storage, host, image)
    if await _cache_need(unit, storage, host, image):
        facts = await unit.companion(ImageFacts, image)
        await claim(unit, storage, host, image_key(image), facts.actual_size)


async def release_cache(unit: Unit, storage: PrimaryStorage, host: Host, image: Image) -> None:
    """Give back the room of an image that did not come to be cached; a cached one keeps it."""
    host = await image_keeper(unit, storage, host, image)
    cache = await unit.companion(HostImageCache, host)
    if cache.find(storage.uuid, image.cache_name) is None:
        await release(unit, storage, host, image_key(image))


async def claim_again(unit: Unit, storage: PrimaryStorage, host: Host, key: str) -> None:
    """Write the same claim once more: a decision that has read the books is then in conflict with all that claim."""
    share = (await unit.companion(HostStorage, host)).shares.get(storage.uuid)
    if share is not None and key in share.claims:
        await _take(unit, storage, host, key, share.claims[key])


async def keep_cached(unit: Unit, storage: PrimaryStorage, host: Host, image: Image, path: str, size: int) -> None:
    """The image lies in the cache: a fact, which is booked whether or not there was thought to be room."""
    host = await image_keeper(unit, storage, host, image)
    books = await unit.companion(HostStorage, host)
    share = books.shares.get(storage.uuid)
    if share is None:
        return  # detached meanwhile: the copy is left behind, and is found intact should the storage come back
    if share.claims.get(image_key(image)) != size:
        await release(unit, storage, host, image_key(image))
        await _take(unit, storage, host, image_key(image), size)
    (await unit.companion(HostImageCache, host)).keep(storage.uuid, image.cache_name, path, size)


async def measured(unit: Unit, storage: PrimaryStorage, host: Host, total: int, available: int) -> None:
    """The storage's directory on the host is ready and this big."""
    (await unit.companion(HostStorage, host)).measured(storage.uuid, total, available)
    capacity = await unit.companion(PrimaryStorageCapacity, storage)
    capacity.measured(host.uuid, total, available, shared=storage.spans_hosts)
    capacity.overprovisioned(await over_provisioning.percent(unit, storage))
    (await unit.companion(PrimaryStorageStatus, storage)).connected()


async def lost(unit: Unit, host: Host) -> None:
    """The host is not connected: storages that no other host has are Disconnected."""
    for uuid in (await unit.companion(HostStorage, host)).shares:
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is not None:
            (await unit.companion(PrimaryStorageCapacity, storage)).lost(host.uuid)
            await _reconsider(unit, storage)


async def forget(unit: Unit, storage: PrimaryStorage, host: Host) -> None:
    """The host has nothing to do with the storage any more; what lies there is left behind, or is another host's."""
    handed_over = storage.spans_hosts and await _hand_over(unit, storage, host)
    freed = (await unit.companion(HostStorage, host)).forget(storage.uuid)
    (await unit.companion(PrimaryStorageCapacity, storage)).forget(host.uuid, freed)
    cache = await unit.companion(HostImageCache, host)
    for cached in (*(() if handed_over else cache.cached_images), *cache.dropping):
        if cached.primary_storage_uuid == storage.uuid:
            await unlist(unit, storage, host, cached.name)
    cache.forget_storage(storage.uuid)
    (await unit.companion(PrimaryStorageNetwork, storage)).forget((host.uuid,))
    await _reconsider(unit, storage)


async def image_keeper(unit: Unit, storage: PrimaryStorage, host: Host, image: Image) -> Host:
    """The host in whose books an image in the cache is, and which fetches it: where files are shared, one for all.

    The others are only looked at: they must not guard the decision, or no two VMs could be placed at a time.
    """
    if not storage.spans_hosts:
        return host
    look = Unit(unit.cloud, unit.context, unit.now)
    for where, uuid in ((unit, host.uuid), *((look, u) for u in (await _hosts(unit, storage)) if u != host.uuid)):
        found = await where.find(Host, uuid)
        share = (await where.companion(HostStorage, found)).shares.get(storage.uuid) if found is not None else None
        if share is not None and image_key(image) in share.claims:
            return await unit.get(Host, uuid)
    return host


async def lies_in_cache(unit: Unit, storage: PrimaryStorage, host: Host, image: Image) -> bool:
    """The host need not fetch it."""
    keeper = await image_keeper(unit, storage, host, image)
    return (await unit.companion(HostImageCache, keeper)).find(storage.uuid, image.cache_name) is not None


async def move(unit: Unit, storage: PrimaryStorage, old: Host, new: Host, keys: Iterable[str]) -> None:
    """Let these claims be in another host's books, where both see the same files."""
    share = (await unit.companion(HostStorage, old)).shares.get(storage.uuid)
    for key in keys:
        size = share.claims.get(key) if share is not None else None
        if size is not None:
            await release(unit, storage, old, key)
            await _take(unit, storage, new, key, size)


async def _hosts(unit: Unit, storage: PrimaryStorage) -> tuple[str, ...]:
    return tuple((await unit.companion(PrimaryStorageCapacity, storage)).hosts)


async def unlist(unit: Unit, storage: PrimaryStorage, host: Host, name: str) -> None:
    """An image is not in the cache any more, for all that is known."""
    entry = await unit.find(ImageCache, *cache_uuids_of(storage, host, name))
    if entry is not None:
        entry.remove()


async def _hand_over(unit: Unit, storage: PrimaryStorage, host: Host) -> bool:
    """What a host keeps in its books for all is kept by another that sees the same files; whether there is one."""
    for uuid in await _hosts(unit, storage):
        other = await unit.find(Host, uuid) if uuid != host.uuid else None
        share = (await unit.companion(HostStorage, host)).shares.get(storage.uuid)
        if other is None or share is None or storage.uuid not in (await unit.companion(HostStorage, other)).shares:
            continue
        for key in share.claims:
            volume = await unit.find(Volume, key) if is_volume(key) else None
            if volume is not None:
                (await unit.companion(VolumeStatus, volume)).change_host(other.uuid)
        await move(unit, storage, host, other, share.claims)
        for cached in (await unit.companion(HostImageCache, host)).cached_images:
            if cached.primary_storage_uuid == storage.uuid:
                (await unit.companion(HostImageCache, other)).keep(storage.uuid, cached.name, cached.path, cached.size)
        return True
    return False


async def volumes_on(unit: Unit, storage: PrimaryStorage, hosts: list[Host]) -> list[str]:
    """Keys of the claims there that are not cached images."""
    found: list[str] = []
    for host in hosts:
        share = (await unit.companion(HostStorage, host)).shares.get(storage.uuid)
        found += [key for key in share.claims if is_volume(key)] if share is not None else []
    return found


async def _take(unit: Unit, storage: PrimaryStorage, host: Host, key: str, size: int) -> None:
    books = await unit.companion(HostStorage, host)
    old = books.shares[storage.uuid].claims.get(key, 0)
    books.claim(storage.uuid, key, size)
    capacity = await unit.companion(PrimaryStorageCapacity, storage)
    if old:
        capacity.trigger(capacity.Freed(host_uuid=host.uuid, key=key, size=old))
    capacity.trigger(capacity.Allocated(host_uuid=host.uuid, key=key, size=size))


async def _cache_need(unit: Unit, storage: PrimaryStorage, host: Host, image: Image) -> int:
    """Bytes that caching the image takes which are not claimed yet."""
    share = (await unit.companion(HostStorage, host)).shares.get(storage.uuid)
    if share is not None and image_key(image) in share.claims:
        return 0
    return (await unit.companion(ImageFacts, image)).actual_size


async def settle(unit: Unit, storage: PrimaryStorage) -> None:
    """A reconnect is over: the storage is what the hosts that have it make it."""
    status = await unit.companion(PrimaryStorageStatus, storage)
    capacity = await unit.companion(PrimaryStorageCapacity, storage)
    if capacity.reachable:
        status.connected()
    else:
        status.disconnected(capacity.why_unreachable)


async def _reconsider(unit: Unit, storage: PrimaryStorage) -> None:
    capacity = await unit.companion(PrimaryStorageCapacity, storage)
    status = await unit.companion(PrimaryStorageStatus, storage)
    if status.status is Status.CONNECTED and not capacity.reachable:
        status.disconnected("no host that has it is connected")
