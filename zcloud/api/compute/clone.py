"""CloneVmInstance: a VM like another one, with copies of its volumes (VM-24, VM-25)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.compute.vm_instance import new_nic
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.compute.clones import originals, place_copy
from zcloud.domain.compute.isos import first_drives
from zcloud.domain.compute.machine import beside
from zcloud.domain.compute.placement import place
from zcloud.domain.compute.vm_instance import CreationStrategy, VmInstance
from zcloud.domain.compute.vm_volumes import VmVolumes
from zcloud.domain.storage.volume import Volume, VolumeStatus
from zcloud.kernel.errors import invalid
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


@command("CloneVmInstance")
async def clone_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """It belongs to the caller, lies where the original does, and has addresses of its own."""
    strategy = CreationStrategy(arguments(call, request).get("strategy", "InstantStart"))
    if strategy is CreationStrategy.JUST_CREATE:
        raise invalid("strategy", strategy.value, "a clone is made with its volumes; take CreateStopped")
    it = await beside(unit, await unit.usable(VmInstance, request.vm_instance_uuid))
    sources = await originals(unit, it, full=request.full)
    vm = await unit.new(VmInstance, request.resource_uuid)
    root = await unit.new(Volume)
    vm.create(
        name=request.name,
        description=request.description,
        zone_uuid=it.vm.zone_uuid,
        image_uuid=it.vm.image_uuid,
        root_volume_uuid=root.uuid,
        cpu_num=it.vm.cpu_num,
        memory_size=it.vm.memory_size,
        platform=it.vm.platform,
        boot_mode=it.vm.boot_mode,
        allocator_strategy=it.vm.allocator_strategy,
        strategy=strategy,
        instance_offering_uuid=it.vm.instance_offering_uuid,
    )
    vm.set_boot_order(it.vm.boot_order)
    # The copy stands by itself: it is not on top of an image.
    root.create_root(
        vm_instance_uuid=vm.uuid, vm_name=vm.name, zone_uuid=vm.zone_uuid, image_uuid="", size=it.volume.size
    )
    copies = [root, *[await _data(unit, vm, number, source) for number, source in enumerate(sources[1:], 1)]]
    for source, copy in zip(sources, copies, strict=True):
        (await unit.companion(VolumeStatus, copy)).created()
        await place_copy(unit, source, copy)
    await first_drives(unit, vm)
    made = await beside(unit, vm)
    made.status.created()
    nics = [new_nic(vm, number, nic.l3_network_uuid) for number, nic in enumerate(it.nics.vm_nics)]
    made.nics.create(tuple(nics), it.nics.default_l3_network_uuid)
    unit.detail = await place(unit, made)
    pairs = [[source.uuid, copy.uuid] for source, copy in zip(sources, copies, strict=True)]
    args = {"source": it.vm.uuid, "pairs": pairs, "nics": len(nics), "strategy": strategy.value}
    await submit(unit, "clone_vm_instance", vm, args)
    return vm


async def _data(unit: Unit, vm: VmInstance, number: int, source: Volume) -> Volume:
    volume = await unit.new(Volume)
    volume.create_data(
        name=f"DATA-{number}-for-{vm.name}",
        size=source.size,
        zone_uuid=vm.zone_uuid,
        vm_instance_uuid=vm.uuid,
        device_id=source.device_id,
    )
    (await unit.companion(VmVolumes, vm)).attach(volume.uuid)
    return volume
