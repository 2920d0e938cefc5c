"""Data volumes of VMs: whether one can be attached, where it will lie, and how many a VM may have (VOL-02)."""

from __future__ import annotations

from zcloud.domain.compute.machine import DataDisk, Machine, instantiated, machine
from zcloud.domain.compute.shared_volumes import hand, spans
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import ALLOWED, AT_REST
from zcloud.domain.infrastructure.cluster import Cluster, ClusterAttachments
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus, VolumeType
from zcloud.domain.storage.volume_room import choose_storage, must_serve, place_on
from zcloud.kernel.errors import Code, Reason, Refused, precondition
from zcloud.kernel.job import Job, JobQueue
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit

# What a KVM guest can have beside its root volume (behaviours 6).
MOST = 24


async def worker(unit: Unit, volume: Volume) -> Resource:
    """Whose queue jobs on a volume wait in: that of the VM which has it, so that they never meet a start or stop."""
    vm = await unit.find(VmInstance, volume.vm_instance_uuid) if volume.vm_instance_uuid else None
    return vm or volume


async def must_work_on(unit: Unit, volume: Volume, job: Job) -> None:
    """Refuses a job whose volume was attached or detached while it waited: others are ordered in another queue now."""
    if (await worker(unit, volume)).uuid != job.resource_uuid:
        text = f'volume "{volume.name}" was attached or detached meanwhile; ask again'
        raise precondition(Reason.BUSY, text, volume_uuid=volume.uuid)


async def vm_of(unit: Unit, volume: Volume) -> Machine | None:
    """The VM that has a volume."""
    found = await unit.find(VmInstance, volume.vm_instance_uuid) if volume.vm_instance_uuid else None
    return await machine(unit, found.uuid) if found is not None else None


def alive(it: Machine | None) -> bool:
    """A host has, or may have, the VM in its memory, and with it the files of its volumes."""
    return it is not None and bool(it.status.host_uuid) and it.status.state not in AT_REST


def free_device_id(it: Machine) -> int:
    """The lowest place on the guest's bus that is free; the root volume has the first. Raises RESOURCE_EXHAUSTED."""
    if len(it.data) >= MOST:
        text = f'VM "{it.vm.name}" has {len(it.data)} data volumes, and {MOST} is the most; detach one first'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NOT_SUPPORTED, text)
    taken = {data.volume.device_id for data in it.data}
    return next(number for number in range(1, MOST + 1) if number not in taken)


async def must_take(unit: Unit, it: Machine, volume: Volume, disk: VolumeStatus) -> None:
    """Refuses a volume that the VM cannot have now, and says why."""
    volume.must_be_data("attached")
    it.status.must_allow("attach a volume to", ALLOWED["attach_volume"])
    disk.must_be(volume, "attached", VolumeState.READY, VolumeState.NOT_INSTANTIATED, VolumeState.CREATING)
    if volume.account_uuid != it.vm.account_uuid:
        text = f'volume "{volume.name}" and VM "{it.vm.name}" belong to different accounts; change the owner of one'
        raise precondition(Reason.NOT_ALLOWED, text, account_uuid=it.vm.account_uuid)
    if not instantiated(it):
        text = f'VM "{it.vm.name}" was never started: its root volume lies nowhere yet; start it first'
        raise precondition(Reason.WRONG_STATUS, text, vm_instance_uuid=it.vm.uuid)
    if await spans(unit, disk):
        storage = await unit.get(PrimaryStorage, disk.primary_storage_uuid)
        if it.disk.host_uuid not in (await unit.companion(PrimaryStorageCapacity, storage)).hosts:
            text = f'the host of VM "{it.vm.name}" lacks primary storage "{storage.name}", where the volume lies'
            raise precondition(Reason.NOT_ATTACHED, text, primary_storage_uuid=storage.uuid)
    elif disk.host_uuid and disk.host_uuid != it.disk.host_uuid:
        text = (
            f'volume "{volume.name}" lies on the disk of host {disk.host_uuid}, and VM "{it.vm.name}" on that of '
            f"host {it.disk.host_uuid}; on local storage both must lie on one"
        )
        raise precondition(Reason.NOT_SUPPORTED, text, host_uuid=disk.host_uuid)
    await must_serve(unit, volume, "attached")
    await must_be_idle(unit, volume)


async def must_be_idle(unit: Unit, volume: Volume) -> None:
    """Refuses while a job of the volume's own has not ended."""
    if (await unit.companion(JobQueue, volume)).jobs:
        text = f'a job is at work on volume "{volume.name}"; wait for it'
        raise precondition(Reason.BUSY, text, volume_uuid=volume.uuid)


async def attach(unit: Unit, it: Machine, volume: Volume) -> None:
    """The VM has it from now on; a volume that is a record only gets its room where the VM's root volume lies."""
    disk = await unit.companion(VolumeStatus, volume)
    await must_take(unit, it, volume, disk)
    volume.attach(it.vm.uuid, free_device_id(it), it.vm.zone_uuid)
    if await spans(unit, disk):
        await hand(unit, volume, await unit.get(Host, it.disk.host_uuid))
    if disk.status is VolumeState.NOT_INSTANTIATED:
        host = await unit.get(Host, it.disk.host_uuid)
        cluster = await unit.get(Cluster, host.cluster_uuid)
        storages = (await unit.companion(ClusterAttachments, cluster)).primary_storage_uuids
        await place_on(unit, volume, await choose_storage(unit, host, storages, volume.size), host)
    it.volumes.attach(volume.uuid)


async def place_new(unit: Unit, it: Machine, storage: PrimaryStorage, host: Host) -> None:
    """Data volumes that were asked for with the VM lie where its root volume does."""
    for data in it.data:
        if data.disk.status is VolumeState.NOT_INSTANTIATED:
            await place_on(unit, data.volume, storage, host)


def not_made(it: Machine) -> DataDisk | None:
    """The first data volume whose file is yet to be made."""
    return next((data for data in it.data if data.disk.status is VolumeState.CREATING), None)


def is_root(volume: Volume) -> bool:
    """It comes and goes with its VM."""
    return volume.type is VolumeType.ROOT
