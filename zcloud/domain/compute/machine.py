"""A VM with all that stands beside it, as one decision sees it, and the books that must agree with its state."""

from __future__ import annotations

from dataclasses import dataclass

from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_nic import VmNics
from zcloud.domain.compute.vm_state import AT_REST, VmEvent, VmState
from zcloud.domain.compute.vm_status import VmInstanceStatus
from zcloud.domain.compute.vm_volumes import VmVolumes
from zcloud.domain.infrastructure.host import Host, HostCapacity, HostStatus, Status
from zcloud.domain.network import addresses
from zcloud.domain.network.l3_network import L3Network
from zcloud.domain.storage import allocation, cached_images
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.snapshots import forget_snapshots
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.unit import Unit


@dataclass(frozen=True)
class DataDisk:
    """A data volume, and where it lies."""

    volume: Volume
    disk: VolumeStatus


@dataclass(frozen=True)
class Machine:
    """disk: where the root volume lies and how far it is. data: the data volumes that it has."""

    vm: VmInstance
    status: VmInstanceStatus
    nics: VmNics
    volume: Volume
    disk: VolumeStatus
    volumes: VmVolumes
    data: tuple[DataDisk, ...] = ()


async def machine(unit: Unit, uuid: str) -> Machine:
    """The VM; raises NOT_FOUND."""
    return await beside(unit, await unit.get(VmInstance, uuid))


async def beside(unit: Unit, vm: VmInstance) -> Machine:
    """What stands beside a VM that is at hand."""
    volume = await unit.last(Volume, vm.root_volume_uuid)
    assert volume is not None, f"VM {vm.uuid} has no root volume"
    volumes = await unit.companion(VmVolumes, vm)
    data = []
    for uuid in volumes.data_volume_uuids:
        found = await unit.find(Volume, uuid)
        if found is not None:
            data.append(DataDisk(found, await unit.companion(VolumeStatus, found)))
    return Machine(
        vm,
        await unit.companion(VmInstanceStatus, vm),
        await unit.companion(VmNics, vm),
        volume,
        await unit.companion(VolumeStatus, volume),
        volumes,
        tuple(data),
    )


async def reachable(unit: Unit, host_uuid: str) -> bool:
    """The host is there and Connected."""
    host = await unit.find(Host, host_uuid) if host_uuid else None
    return host is not None and (await unit.companion(HostStatus, host)).status is Status.CONNECTED


async def answers(unit: Unit, host_uuid: str) -> bool:
    """Whether the host can be asked; of one that is being connected that is not known yet, and the job waits for it.

    What a host says when it connects is not taken of a VM that a job is at work on. Were such a job to end before the
    host is Connected without having asked, nobody would ask any more.
    """
    host = await unit.find(Host, host_uuid) if host_uuid else None
    if host is not None and (await unit.companion(HostStatus, host)).status is Status.CONNECTING:
        raise Refused(Code.UNAVAILABLE, Reason.WRONG_STATUS, f'host "{host.name}" is being connected')
    return await reachable(unit, host_uuid)


async def assign_addresses(unit: Unit, it: Machine) -> None:
    """Give every NIC that has none an address, the one that was asked for where one was. May refuse."""
    for nic in it.nics.vm_nics:
        if not nic.ip:
            l3 = await unit.get(L3Network, nic.l3_network_uuid)
            found = await addresses.allocate(unit, l3, nic.uuid, nic.static_ip)
            it.nics.assign(
                nic.uuid,
                ip_range_uuid=found.ip_range_uuid,
                ip=found.ip,
                netmask=found.netmask,
                gateway=found.gateway,
            )


async def release_addresses(unit: Unit, it: Machine) -> None:
    """Give all addresses back; the NICs stay."""
    for nic in it.nics.vm_nics:
        if nic.ip:
            await addresses.release(unit, nic.ip_range_uuid, nic.uuid)
            it.nics.release(nic.uuid)


async def release_host(unit: Unit, it: Machine) -> None:
    """Give back what the VM has of its host's CPU and memory."""
    host = await unit.find(Host, it.status.host_uuid) if it.status.host_uuid else None
    if host is not None:
        (await unit.companion(HostCapacity, host)).release(it.vm.uuid)


async def release_volume(unit: Unit, it: Machine) -> None:
    """Give back the room of the root volume, and that of an image which was to be cached for it and is not."""
    storage = await unit.find(PrimaryStorage, it.disk.primary_storage_uuid) if it.disk.primary_storage_uuid else None
    host = await unit.find(Host, it.disk.host_uuid) if it.disk.host_uuid else None
    image = await unit.last(Image, it.vm.image_uuid)
    if storage is not None and host is not None:
        await allocation.release(unit, storage, host, it.volume.uuid)
        if image is not None:
            await allocation.release_cache(unit, storage, host, image)
    await cached_images.leave(unit, it.disk)
    it.disk.displace()


def release_data(it: Machine) -> None:
    """Data volumes outlive the VM: they are attached to none again (behaviours 9)."""
    for data in it.data:
        data.volume.detach()
        it.volumes.detach(data.volume.uuid)


async def stopped(unit: Unit, it: Machine, reason: str = "") -> None:
    """It runs nowhere: its host's capacity is free again."""
    await release_host(unit, it)
    it.status.take(VmEvent.STOPPED, reason, leave=True)


async def destroyed(unit: Unit, it: Machine, reason: str = "") -> None:
    """Into the recycle bin: capacity and addresses are free again, the volume keeps its room (VM-05)."""
    await release_host(unit, it)
    await release_addresses(unit, it)
    release_data(it)
    it.disk.delete()
    it.status.take(VmEvent.DESTROYED, reason, leave=True)


async def forget(unit: Unit, it: Machine) -> None:
    """Nothing is left of it, in any book; its uuid may be used again."""
    await release_host(unit, it)
    await release_addresses(unit, it)
    await forget_snapshots(unit, it.volume)
    await release_volume(unit, it)
    release_data(it)
    it.volume.remove()
    it.vm.remove()


async def found(unit: Unit, it: Machine, real: VmState, reason: str, host: Host) -> bool:
    """A host says what state the VM is in there: states and books follow; whether that was news."""
    where = None if real is VmState.STOPPED else (host.uuid, host.cluster_uuid, host.hypervisor_type)
    before = it.status.host_uuid
    if real is VmState.STOPPED and it.status.state is VmState.DESTROYING:
        await destroyed(unit, it, reason)
        return True
    if not it.status.found(real, reason, host=where):
        return False
    if it.status.state in AT_REST or (before and before != it.status.host_uuid):
        old = await unit.find(Host, before) if before else None
        if old is not None:
            (await unit.companion(HostCapacity, old)).release(it.vm.uuid)
    if it.status.state not in AT_REST:
        (await unit.companion(HostCapacity, host)).occupy(it.vm.uuid, it.vm.cpu_num, it.vm.memory_size)
    return True


def instantiated(it: Machine) -> bool:
    """The root volume lies on a storage, and pins the VM to the host whose disk that is."""
    return it.disk.status is not VolumeState.NOT_INSTANTIATED
