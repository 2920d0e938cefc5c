"""Calls on the CD drives of VMs (VM-06, VM-31)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.domain.compute.isos import add_drive, drives, must_take, usable_iso
from zcloud.domain.compute.machine import Machine, beside
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import AT_REST
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


async def _vm(unit: Unit, request: Any) -> Machine:
    return await beside(unit, await unit.usable(VmInstance, request.vm_instance_uuid))


@command("AttachIsoToVmInstance")
async def attach_iso(call: Call, unit: Unit, request: Any) -> VmInstance:
    """What lies in a drive already is refused; so is one more than there are empty drives."""
    it = await _vm(unit, request)
    iso = await usable_iso(unit, request.iso_uuid)
    found = await drives(unit, it.vm)
    if found.holding(iso.uuid) is not None:
        text = f'ISO "{iso.name}" lies in a CD drive of VM "{it.vm.name}" already'
        raise precondition(Reason.ALREADY_ATTACHED, text, iso_uuid=iso.uuid)
    await must_take(unit, it, iso.uuid, request.cd_rom_uuid)
    await submit(unit, "attach_iso", it.vm, {"iso_uuid": iso.uuid, "cd_rom_uuid": request.cd_rom_uuid})
    return it.vm


@command("DetachIsoFromVmInstance")
async def detach_iso(call: Call, unit: Unit, request: Any) -> VmInstance:
    """Also one whose image is gone."""
    it = await _vm(unit, request)
    if (await drives(unit, it.vm)).holding(request.iso_uuid) is None:
        text = f'ISO {request.iso_uuid} lies in no CD drive of VM "{it.vm.name}"'
        raise precondition(Reason.NOT_ATTACHED, text, iso_uuid=request.iso_uuid)
    await submit(unit, "detach_iso", it.vm, {"iso_uuid": request.iso_uuid})
    return it.vm


def _must_be_at_rest(it: Machine, what: str) -> None:
    if it.status.state not in AT_REST:
        raise it.status.refusal(what, AT_REST)


@command("CreateVmCdRom")
async def create_vm_cd_rom(call: Call, unit: Unit, request: Any) -> VmInstance:
    """A guest that runs would not see it."""
    it = await _vm(unit, request)
    _must_be_at_rest(it, "add a CD drive to")
    await add_drive(unit, it.vm)
    if request.iso_uuid:
        iso = await usable_iso(unit, request.iso_uuid)
        drive = (await drives(unit, it.vm)).cd_roms[-1].uuid
        await must_take(unit, it, iso.uuid, drive)
        await submit(unit, "attach_iso", it.vm, {"iso_uuid": iso.uuid, "cd_rom_uuid": ""})
    return it.vm


@command("DeleteVmCdRom")
async def delete_vm_cd_rom(call: Call, unit: Unit, request: Any) -> VmInstance:
    """An empty one, of a VM that does not run."""
    it = await _vm(unit, request)
    _must_be_at_rest(it, "take a CD drive from")
    (await drives(unit, it.vm)).remove_drive(request.cd_rom_uuid)
    return it.vm
