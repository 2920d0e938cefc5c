"""Volumes on storages that several hosts see: where their VM may run, and which host works on their files (PS-03)."""

from __future__ import annotations

from zcloud.domain.compute.machine import Machine
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.snapshots import claim_key
from zcloud.domain.storage.volume import Volume, VolumeStatus
from zcloud.domain.storage.volume_chain import VolumeChain
from zcloud.kernel.unit import Unit


async def spans(unit: Unit, disk: VolumeStatus) -> bool:
    """The volume lies where several hosts see it."""
    storage = await unit.find(PrimaryStorage, disk.primary_storage_uuid) if disk.primary_storage_uuid else None
    return storage is not None and storage.spans_hosts


async def ties(unit: Unit, it: Machine) -> tuple[str, frozenset[str]]:
    """The host on whose own disk a volume of the VM lies, if one does, and the shared storages of the others."""
    host_uuid, storages = "", set()
    for disk in (it.disk, *(data.disk for data in it.data)):
        if await spans(unit, disk):
            storages.add(disk.primary_storage_uuid)
        else:
            host_uuid = host_uuid or disk.host_uuid
    return host_uuid, frozenset(storages)


async def follow(unit: Unit, it: Machine, host: Host) -> None:
    """The host where the VM is to run works on its shared volumes from now on, and has their room in its books."""
    await hand(unit, it.volume, host)
    for data in it.data:
        await hand(unit, data.volume, host)


async def hand(unit: Unit, volume: Volume, host: Host) -> None:
    """One volume; one that lies on a host's own disk stays that host's."""
    disk = await unit.companion(VolumeStatus, volume)
    if disk.host_uuid == host.uuid or not disk.install_path or not await spans(unit, disk):
        return
    old = await unit.find(Host, disk.host_uuid)
    if old is not None:
        storage = await unit.get(PrimaryStorage, disk.primary_storage_uuid)
        chain = await unit.companion(VolumeChain, volume)
        await allocation.move(unit, storage, old, host, [volume.uuid, *map(claim_key, chain.nodes)])
    disk.change_host(host.uuid)
