"""Room and place of data volumes: where one may lie, and what it claims there (VOL-03, VOL-09)."""

from __future__ import annotations

from zcloud.domain.infrastructure.host import Host, HostStatus, Status
from zcloud.domain.storage import allocation, cached_images
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity, PrimaryStorageStatus
from zcloud.domain.storage.primary_storage_state import SERVES
from zcloud.domain.storage.status import Status as StorageStatus
from zcloud.domain.storage.storage_choice import best
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.kernel.errors import Code, Reason, Refused, precondition
from zcloud.kernel.unit import Unit


def data_path(storage: PrimaryStorage, volume: Volume) -> str:
    """Where a data volume's first file lies on a host."""
    return f"{storage.directory}/dataVolumes/acct-{volume.account_uuid}/vol-{volume.uuid}/{volume.uuid}.qcow2"


async def place_on(unit: Unit, volume: Volume, storage: PrimaryStorage, host: Host) -> None:
    """Claim room for a volume that is a record only. Raises RESOURCE_EXHAUSTED."""
    disk = await unit.companion(VolumeStatus, volume)
    await allocation.claim(unit, storage, host, volume.uuid, volume.size)
    disk.place(storage.uuid, host.uuid, data_path(storage, volume))


async def choose_storage(unit: Unit, host: Host, storages: tuple[str, ...], size: int) -> PrimaryStorage:
    """Of these storages the best by the strategy. Raises RESOURCE_EXHAUSTED with each one's reason."""
    books = await unit.companion(HostStorage, host)
    whys: list[str] = []
    able: list[PrimaryStorage] = []
    for uuid in storages:
        storage = await unit.find(PrimaryStorage, uuid)
        share = books.shares.get(uuid)
        if storage is None or storage.deleting_job:
            continue
        why = await allocation.lacks(unit, storage, host, size)
        if why or share is None:
            whys.append(why or f'primary storage "{storage.name}" is not prepared there yet')
        else:
            able.append(storage)
    chosen = await best(unit, host, able)
    if chosen is None:
        reasons = "; ".join(whys) or "no primary storage is attached to its cluster"
        text = f'host "{host.name}" has no room for a volume of {size} bytes: {reasons}'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text)
    return chosen


async def choose_host(unit: Unit, storage: PrimaryStorage, size: int) -> Host:
    """Of the hosts of a storage the connected one with the most room there. Raises RESOURCE_EXHAUSTED."""
    whys: list[str] = []
    roomiest: tuple[int, Host] | None = None
    for uuid in (await unit.companion(PrimaryStorageCapacity, storage)).hosts:
        host = await unit.find(Host, uuid)
        if host is None or host.deleting_job:
            continue
        why = await host_lacks(unit, storage, host, size)
        room = (await unit.companion(HostStorage, host)).shares[storage.uuid].available
        if why:
            whys.append(f'host "{host.name}": {why}')
        elif roomiest is None or room > roomiest[0]:
            roomiest = (room, host)
    if roomiest is None:
        reasons = "; ".join(whys[:10]) or "no host has it; attach it to a cluster with hosts"
        text = f'primary storage "{storage.name}" cannot take a volume of {size} bytes: {reasons}'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text)
    return roomiest[1]


async def host_lacks(unit: Unit, storage: PrimaryStorage, host: Host, size: int) -> str:
    """Why the host cannot make a volume of this size there now; empty when it can."""
    status = (await unit.companion(HostStatus, host)).status
    if status is not Status.CONNECTED:
        return f"it is {status.value}"
    return await allocation.lacks(unit, storage, host, size)


async def where(unit: Unit, disk: VolumeStatus) -> tuple[PrimaryStorage, Host] | None:
    """Storage and host of a volume; None when it lies nowhere, or there is nobody left to ask."""
    storage = await unit.find(PrimaryStorage, disk.primary_storage_uuid) if disk.primary_storage_uuid else None
    host = await unit.find(Host, disk.host_uuid) if disk.host_uuid else None
    return (storage, host) if storage is not None and host is not None else None


async def must_serve(unit: Unit, volume: Volume, what: str, *, while_connecting: bool = False) -> None:
    """Refuses what touches the files of a volume while its storage is in maintenance. what: "expunged".

    Nor while it is reconnected, but for what ends a work that has begun (PS-19).
    """
    storage = await _storage_of(unit, volume)
    if storage is None:
        return
    storage.must_serve(f'volume "{volume.name}" cannot be {what}')
    if not while_connecting and await _is_connecting(unit, storage):
        text = (
            f'volume "{volume.name}" cannot be {what}: primary storage "{storage.name}" is being connected; try again'
        )
        raise precondition(Reason.WRONG_STATUS, text, primary_storage_uuid=storage.uuid)


async def is_served(unit: Unit, volume: Volume) -> bool:
    """Nothing speaks against touching its files; for what can wait until the maintenance is over."""
    storage = await _storage_of(unit, volume)
    return storage is None or (storage.state in SERVES and not await _is_connecting(unit, storage))


async def _is_connecting(unit: Unit, storage: PrimaryStorage) -> bool:
    return (await unit.companion(PrimaryStorageStatus, storage)).status is StorageStatus.CONNECTING


async def _storage_of(unit: Unit, volume: Volume) -> PrimaryStorage | None:
    disk = await unit.companion(VolumeStatus, volume)
    return await unit.find(PrimaryStorage, disk.primary_storage_uuid) if lies_somewhere(disk) else None


async def release_room(unit: Unit, volume: Volume) -> None:
    """Nothing of the volume is left on its storage: its room is free, and it is a record again."""
    disk = await unit.companion(VolumeStatus, volume)
    found = await where(unit, disk)
    if found is not None:
        await allocation.release(unit, *found, volume.uuid)
    await cached_images.leave(unit, disk)
    disk.displace()


async def claim_size(unit: Unit, volume: Volume, size: int) -> None:
    """Let the claim of a volume that lies on a storage be of this size. Raises RESOURCE_EXHAUSTED."""
    disk = await unit.companion(VolumeStatus, volume)
    found = await where(unit, disk)
    if found is None:
        return
    storage, host = found
    share = (await unit.companion(HostStorage, host)).shares.get(storage.uuid)
    if share is not None and size < share.claims.get(volume.uuid, 0):
        await allocation.book(unit, storage, host, volume.uuid, size)
    else:
        await allocation.claim(unit, storage, host, volume.uuid, size, grows=True)


def lies_somewhere(disk: VolumeStatus) -> bool:
    """A storage holds, or is to hold, something of it."""
    return disk.status is not VolumeState.NOT_INSTANTIATED and bool(disk.install_path)
