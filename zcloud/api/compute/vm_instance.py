"""Calls on VMs: what the request says is checked here, what it means is decided by workflows when their turn comes."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.compute.new_vm import Order, order_of
from zcloud.api.handlers import command
from zcloud.api.standard import arguments, delete_mode
from zcloud.domain.compute.isos import first_drives
from zcloud.domain.compute.machine import Machine, assign_addresses, beside
from zcloud.domain.compute.placement import place
from zcloud.domain.compute.vm_instance import CreationStrategy, DesiredState, VmInstance
from zcloud.domain.compute.vm_nic import VmNic
from zcloud.domain.compute.vm_state import ALLOWED, VmEvent, VmState
from zcloud.domain.compute.vm_volumes import VmVolumes
from zcloud.domain.network.addresses import mac_of
from zcloud.domain.storage.image import MediaType
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.kernel.ids import derive
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


@command("CreateVmInstance")
async def create_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """VM, volume, NICs, addresses, claims and job in one append, or none of it (VM-02)."""
    order = await order_of(unit, request)
    strategy = CreationStrategy(arguments(call, request).get("strategy", "InstantStart"))
    of_iso = order.image.media_type is MediaType.ISO
    vm = await unit.new(VmInstance, request.resource_uuid)
    volume = await unit.new(Volume)
    vm.create(
        name=request.name,
        description=request.description,
        zone_uuid=order.zone_uuid,
        image_uuid=order.image.uuid,
        root_volume_uuid=volume.uuid,
        cpu_num=order.cpu_num,
        memory_size=order.memory_size,
        platform=order.image.platform.value,
        boot_mode=order.image.boot_mode.value,
        allocator_strategy=order.strategy,
        strategy=strategy,
        instance_offering_uuid=request.instance_offering_uuid,
        asked=order.asked,
    )
    volume.create_root(
        vm_instance_uuid=vm.uuid,
        vm_name=vm.name,
        zone_uuid=order.zone_uuid,
        image_uuid="" if of_iso else order.image.uuid,
        size=order.size,
        disk_offering_uuid=request.root_disk_offering_uuid,
    )
    await _data_volumes(unit, vm, order)
    await first_drives(unit, vm, order.image.uuid if of_iso else "")
    it = await beside(unit, vm)
    it.status.created()
    it.disk.created()
    it.nics.create(
        tuple(new_nic(vm, number, l3.uuid, order.static_ips.get(l3.uuid, "")) for number, l3 in enumerate(order.l3s)),
        order.default_l3_network_uuid,
    )
    if strategy is CreationStrategy.JUST_CREATE:
        await assign_addresses(unit, it)
        return vm
    unit.detail = await place(unit, it, report=call.validate_only)
    args = {"nics": len(order.l3s), "data": len(order.data), "strategy": strategy.value}
    await submit(unit, "create_vm_instance", vm, args)
    return vm


async def _data_volumes(unit: Unit, vm: VmInstance, order: Order) -> None:
    """Records for now; they are made with the root volume, where that lies."""
    volumes = await unit.companion(VmVolumes, vm)
    for number, new in enumerate(order.data, 1):
        volume = await unit.new(Volume)
        volume.create_data(
            name=f"DATA-{number}-for-{vm.name}",
            size=new.size,
            zone_uuid=order.zone_uuid,
            disk_offering_uuid=new.disk_offering_uuid,
            vm_instance_uuid=vm.uuid,
            device_id=number,
        )
        (await unit.companion(VolumeStatus, volume)).created()
        volumes.attach(volume.uuid)


def new_nic(vm: VmInstance, number: int, l3_network_uuid: str, static_ip: str = "") -> VmNic:
    """In this place, with a MAC address of its own."""
    uuid = derive(vm.uuid, str(vm.version), "nic", str(number))
    return VmNic(uuid, l3_network_uuid, mac_of(uuid), number, static_ip)


async def _asked(unit: Unit, request: Any, operation: str) -> Machine:
    """The VM, in a state in which the operation may be asked for."""
    it = await beside(unit, await unit.usable(VmInstance, request.uuid))
    it.status.must_allow(operation, ALLOWED[operation])
    return it


async def _submit(unit: Unit, it: Machine, workflow: str, **args: Any) -> VmInstance:
    await submit(unit, workflow, it.vm, {"nics": len(it.nics.vm_nics), **args})
    return it.vm


@command("StartVmInstance")
async def start_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """One that runs stays as it is; one that has crashed is rebooted."""
    it = await _asked(unit, request, "start")
    it.vm.desire(DesiredState.RUNNING)
    if it.status.state is VmState.RUNNING:
        return it.vm
    if it.status.state is VmState.CRASHED:
        return await _submit(unit, it, "reboot_vm_instance")
    unmade = sum(data.disk.status is VolumeState.NOT_INSTANTIATED for data in it.data)
    return await _submit(unit, it, "start_vm_instance", data=unmade)


@command("StopVmInstance")
async def stop_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """One that is stopped stays as it is."""
    it = await _asked(unit, request, "stop")
    it.vm.desire(DesiredState.STOPPED)
    if it.status.state is VmState.STOPPED:
        return it.vm
    return await _submit(unit, it, "stop_vm_instance", type=arguments(call, request).get("type", "Grace"))


@command("RebootVmInstance")
async def reboot_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """On the host where it is."""
    it = await _asked(unit, request, "reboot")
    it.vm.desire(DesiredState.RUNNING)
    return await _submit(unit, it, "reboot_vm_instance")


@command("PauseVmInstance")
async def pause_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """Its memory stays where it is."""
    it = await _asked(unit, request, "pause")
    it.vm.desire(DesiredState.PAUSED)
    return await _submit(unit, it, "pause_vm_instance")


@command("ResumeVmInstance")
async def resume_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """It goes on."""
    it = await _asked(unit, request, "resume")
    it.vm.desire(DesiredState.RUNNING)
    return await _submit(unit, it, "resume_vm_instance")


@command("DeleteVmInstance")
async def delete_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """To the recycle bin; while a job is at work on it, when that has ended (VM-05)."""
    it = await _asked(unit, request, "destroy")
    it.vm.desire(DesiredState.DESTROYED)
    return await _submit(unit, it, "destroy_vm_instance", type="Cold", mode=delete_mode(request))


@command("RecoverVmInstance")
async def recover_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """Stopped, with its volume; addresses come with the next start."""
    it = await _asked(unit, request, "recover")
    it.vm.desire(DesiredState.STOPPED)
    it.disk.recover()
    it.status.take(VmEvent.STOPPED)
    return it.vm


@command("ExpungeVmInstance")
async def expunge_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """For ever."""
    it = await _asked(unit, request, "expunge")
    await submit(unit, "expunge_vm_instance", it.vm)
    return it.vm
