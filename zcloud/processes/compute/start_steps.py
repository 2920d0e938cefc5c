"""Steps that bring a VM up on the host it was placed on: image, volume, networks, hypervisor; each with its undo."""

from __future__ import annotations

from functools import partial
from typing import Any

from zcloud.domain.compute.machine import Machine, answers, machine, release_volume
from zcloud.domain.compute.vm_nic import VmNic
from zcloud.domain.compute.vm_state import VmEvent, VmState
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import L2Network, bridge_of
from zcloud.domain.network.l3_network import L3Network
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.volume import VolumeState
from zcloud.kernel.job import Job, StepState
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task
from zcloud.processes.compute import new_volumes
from zcloud.processes.compute.cd_drives import cd_drives
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.stop_steps import uncertain
from zcloud.processes.network import dhcp
from zcloud.processes.storage import image_cache
from zcloud.processes.storage.volume_tasks import create_task
from zcloud.v1.image_task_pb2 import CacheImageResult
from zcloud.v1.vm_instance_task_pb2 import StartVmResult, StartVmTask, StopVmTask, VmDisk, VmInterface, VmSpec
from zcloud.v1.volume_task_pb2 import CreateRootVolumeResult, CreateRootVolumeTask, DeleteVolumeTask

CACHE_SECONDS = 6 * 3600
# Jobs that make VMs.
NEW = ("create_vm_instance", "clone_vm_instance")


def touched(job: Job, name: str) -> bool:
    """The job has sent this step, whatever came of it: its undo has something to undo."""
    step = next(step for step in job.steps if step.name == name)
    return step.state not in (StepState.PENDING, StepState.SKIPPED, StepState.UNDONE)


async def spec(unit: Unit, it: Machine) -> VmSpec:
    """What a hypervisor must know of the VM."""
    interfaces = []
    for nic in it.nics.vm_nics:
        l3 = await unit.get(L3Network, nic.l3_network_uuid)
        bridge = bridge_of(l3.l2_network_uuid)
        interfaces.append(VmInterface(nic_uuid=nic.uuid, mac=nic.mac, bridge=bridge, device_id=nic.device_id))
    return VmSpec(
        vm_instance_uuid=it.vm.uuid,
        name=it.vm.name,
        cpu_num=it.vm.cpu_num,
        memory_size=it.vm.memory_size,
        platform=it.vm.platform,
        boot_mode=it.vm.boot_mode,
        disks=[
            VmDisk(
                volume_uuid=it.volume.uuid,
                path=it.disk.install_path,
                format=it.volume.format,
                device_id=it.volume.device_id,
            ),
            *(
                VmDisk(
                    volume_uuid=data.volume.uuid,
                    path=data.disk.install_path,
                    format=data.volume.format,
                    device_id=data.volume.device_id,
                )
                for data in it.data
                if data.disk.status is VolumeState.READY
            ),
        ],
        interfaces=interfaces,
        cd_drives=await cd_drives(unit, it),
        boot_order=it.vm.boot_order,
    )


async def _undoable(unit: Unit, job: Job, it: Machine, name: str) -> bool:
    """The step has something to undo, and may. What a new VM had made is undone in any case, so that nothing is left.

    A VM that was there before is left alone where nobody can say whether it runs, until its host is asked again.
    """
    if not touched(job, name):
        return False
    return job.workflow in NEW or (
        await answers(unit, it.status.host_uuid) and (name == "start" or not uncertain(job, "start"))
    )


async def _being_started(unit: Unit, job: Job) -> Machine | None:
    """The VM, while it is Starting: when a host has said meanwhile that it runs, nothing is left to do."""
    it = await machine(unit, job.resource_uuid)
    return it if it.status.state is VmState.STARTING else None


# -- image and volume, for a VM that has none on a storage yet


async def _bits(unit: Unit, it: Machine) -> tuple[Image, PrimaryStorage]:
    return await unit.get(Image, it.vm.image_uuid), await unit.get(PrimaryStorage, it.disk.primary_storage_uuid)


async def cache_image(unit: Unit, job: Job) -> Task | None:
    """The image, unless the host has it."""
    it = await _being_started(unit, job)
    if it is None or it.disk.status is not VolumeState.CREATING:
        return None
    return await image_cache.cache_task(unit, *await _bits(unit, it), it.disk.host_uuid)


async def image_cached(unit: Unit, job: Job, result: CacheImageResult) -> None:
    """It stays, whatever becomes of the VM: the next one will need it."""
    it = await machine(unit, job.resource_uuid)
    await image_cache.cached(unit, *await _bits(unit, it), it.disk.host_uuid, result)


async def create_volume(unit: Unit, job: Job) -> Task | None:
    """A thin volume on top of the cached image."""
    it = await _being_started(unit, job)
    if it is None or it.disk.status is not VolumeState.CREATING:
        return None
    image, storage = await _bits(unit, it)
    if not it.volume.image_uuid:  # of a VM that is installed from an ISO
        return await create_task(unit, it.volume)
    return Task(
        it.disk.host_uuid,
        CreateRootVolumeTask(
            volume_uuid=it.volume.uuid,
            path=it.disk.install_path,
            backing_path=image_cache.cache_path(storage, image),
            backing_format=image.format.suffix,
            size=it.volume.size,
        ),
    )


async def volume_created(unit: Unit, job: Job, result: CreateRootVolumeResult) -> None:
    """The file is there; of a VM that is installed from an ISO, nothing of that is in it."""
    it = await machine(unit, job.resource_uuid)
    if it.disk.status is VolumeState.CREATING:
        stands = bool(it.volume.image_uuid)
        base = await image_cache.used(unit, it.vm.image_uuid, it.disk, stands=stands)
        it.disk.instantiated(result.actual_size, base)


async def delete_volume(unit: Unit, job: Job) -> Task | None:
    """Only what this job has made."""
    it = await machine(unit, job.resource_uuid)
    if not await _undoable(unit, job, it, "create_root_volume"):
        return None
    return Task(it.disk.host_uuid, DeleteVolumeTask(volume_uuid=it.volume.uuid, path=it.disk.install_path))


async def volume_deleted(unit: Unit, job: Job, result: Any) -> None:
    """Its room is free again."""
    await release_volume(unit, await machine(unit, job.resource_uuid))


# -- networks, NIC by NIC


def _nic(it: Machine, number: int) -> VmNic | None:
    """A NIC may have been detached since the job was made."""
    return it.nics.vm_nics[number] if number < len(it.nics.vm_nics) else None


async def apply_l2(number: int, unit: Unit, job: Job) -> Task | None:
    """The bridge, which the host has already unless something took it away."""
    it = await _being_started(unit, job)
    nic = _nic(it, number) if it is not None else None
    if it is None or nic is None:
        return None
    return await dhcp.l2_task(unit, await unit.get(L3Network, nic.l3_network_uuid), it.status.host_uuid)


async def l2_applied(number: int, unit: Unit, job: Job, result: Any) -> None:
    """The host has the bridge."""
    it = await machine(unit, job.resource_uuid)
    nic = _nic(it, number)
    if nic is not None:
        l3 = await unit.get(L3Network, nic.l3_network_uuid)
        l2 = await unit.get(L2Network, l3.l2_network_uuid)
        networks = await unit.companion_of(HostNetworks, it.status.host_uuid)
        networks.applied(l2.uuid, l2.physical_interface, job.uuid)


async def apply_dhcp(number: int, unit: Unit, job: Job) -> Task | None:
    """The guest's address, on the DHCP server of this host."""
    it = await _being_started(unit, job)
    nic = _nic(it, number) if it is not None else None
    if it is None or nic is None:
        return None
    l3 = await unit.get(L3Network, nic.l3_network_uuid)
    entry = dhcp.entry(nic, it.vm.name, nic.l3_network_uuid == it.nics.default_l3_network_uuid, l3)
    return await dhcp.dhcp_task(unit, l3, it.status.host_uuid, [entry])


async def release_dhcp(number: int, unit: Unit, job: Job) -> Task | None:
    """Takes the entry away again."""
    it = await machine(unit, job.resource_uuid)
    nic = _nic(it, number)
    # Where it was found stopped, it is on no host any more; the entry is where its disk is.
    host_uuid = it.status.host_uuid or it.disk.host_uuid
    if nic is None or not host_uuid or not await _undoable(unit, job, it, f"dhcp_{number + 1}"):
        return None
    l3 = await unit.get(L3Network, nic.l3_network_uuid)
    return await dhcp.release_dhcp_task(unit, l3, host_uuid, [nic.mac])


# -- the hypervisor


async def start(unit: Unit, job: Job) -> Task | None:
    """Starts it; with its CPUs stopped where that was asked for."""
    it = await _being_started(unit, job)
    if it is None:
        return None
    await must_reach(unit, it.status.host_uuid, "start the VM")
    return Task(
        it.status.host_uuid, StartVmTask(spec=await spec(unit, it), paused=job.args.get("strategy") == "CreatedPaused")
    )


async def started(unit: Unit, job: Job, result: StartVmResult) -> None:
    """It runs, or stands still as it was asked to."""
    it = await machine(unit, job.resource_uuid)
    it.status.take(VmEvent.PAUSED if result.state == "Paused" else VmEvent.RUNNING)


async def take_down(unit: Unit, job: Job) -> Task | None:
    """Makes sure that it does not run: a start whose report did not come may have happened."""
    it = await machine(unit, job.resource_uuid)
    if not it.status.host_uuid or not await _undoable(unit, job, it, "start"):
        return None
    return Task(it.status.host_uuid, StopVmTask(vm_instance_uuid=it.vm.uuid, cold=True))


async def create_data_volumes(unit: Unit, job: Job) -> Task | None:
    """Those that were asked for with the VM, one after the other."""
    return await new_volumes.create(unit, job) if await _being_started(unit, job) is not None else None


async def discard_data_volumes(unit: Unit, job: Job) -> Task | None:
    """Only what this job has made."""
    it = await machine(unit, job.resource_uuid)
    # Undoing goes on with the next volume when one is undone.
    more = next(step for step in job.steps if step.name == new_volumes.STEP).state is StepState.UNDONE
    return await new_volumes.discard(unit, job) if more or await _undoable(unit, job, it, new_volumes.STEP) else None


def data_steps(data: int) -> tuple[Step, ...]:
    """None for a VM that was asked for without data volumes, whose jobs are as they always were."""
    do, undo = create_data_volumes, discard_data_volumes
    step = Step(new_volumes.STEP, do, new_volumes.created, undo, new_volumes.discarded, timeout=300, repeat=True)
    return (step,) if data else ()


def steps(nics: int, *, data: int = 0, forgive: tuple[str, ...] = ()) -> tuple[Step, ...]:
    """All of them for a VM with so many NICs and new data volumes. forgive: whether undoing may fail (see Step)."""
    return (
        Step("cache_image", cache_image, image_cached, timeout=CACHE_SECONDS),
        Step("create_root_volume", create_volume, volume_created, undo=delete_volume, undone=volume_deleted),
        *data_steps(data),
        *boot_steps(nics, forgive=forgive),
    )


def boot_steps(nics: int, *, forgive: tuple[str, ...] = ()) -> tuple[Step, ...]:
    """Those of a VM that has its volumes."""
    networks: list[Step] = []
    for number in range(nics):
        networks.append(Step(f"l2_network_{number + 1}", partial(apply_l2, number), partial(l2_applied, number)))
        networks.append(
            Step(
                f"dhcp_{number + 1}",
                partial(apply_dhcp, number),
                undo=partial(release_dhcp, number),
                forgive=forgive,
            )
        )
    return (*networks, Step("start", start, started, undo=take_down, timeout=300, forgive=forgive))
