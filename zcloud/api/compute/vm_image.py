"""Calls that make the root volume of a VM anew, and those on what it boots with (VM-07, VM-08, VM-26, VM-27)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.compute.new_vm import template
from zcloud.api.handlers import command
from zcloud.domain.compute.machine import Machine, beside
from zcloud.domain.compute.reimage import must_be_remakable
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.kernel.errors import not_found
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


async def _vm(unit: Unit, request: Any) -> Machine:
    return await beside(unit, await unit.usable(VmInstance, request.vm_instance_uuid))


async def _remake(unit: Unit, it: Machine, image: Image, size: int) -> VmInstance:
    await must_be_remakable(unit, it, image)
    await submit(unit, "reimage_vm_instance", it.vm, {"image_uuid": image.uuid, "size": size})
    return it.vm


@command("ReimageVmInstance")
async def reimage_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """It keeps the size that its root volume has."""
    it = await _vm(unit, request)
    image = await unit.last(Image, it.vm.image_uuid)
    if image is None:
        raise not_found("image", it.vm.image_uuid)
    return await _remake(unit, it, image, it.volume.size)


@command("ChangeVmImage")
async def change_vm_image(call: Call, unit: Unit, request: Any) -> VmInstance:
    """The root volume grows where the other image needs more."""
    it = await _vm(unit, request)
    image = await template(unit, request.image_uuid)
    size = (await unit.companion(ImageFacts, image)).size
    return await _remake(unit, it, image, max(size, it.volume.size))


@command("SetVmBootMode")
async def set_vm_boot_mode(call: Call, unit: Unit, request: Any) -> VmInstance:
    """A guest that runs is told at its next start."""
    vm = await unit.usable(VmInstance, request.vm_instance_uuid)
    vm.set_boot_mode(request.boot_mode)
    return vm


@command("SetVmBootOrder")
async def set_vm_boot_order(call: Call, unit: Unit, request: Any) -> VmInstance:
    """A guest that runs is told at its next start."""
    vm = await unit.usable(VmInstance, request.vm_instance_uuid)
    vm.set_boot_order(tuple(request.boot_order))
    return vm
