"""MigrateVm: a VM that runs goes on, on another host (VM-38)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.domain.compute.machine import beside
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


@command("MigrateVm")
async def migrate_vm(call: Call, unit: Unit, request: Any) -> VmInstance:
    """To the host that is asked for, or to the best."""
    it = await beside(unit, await unit.usable(VmInstance, request.vm_instance_uuid))
    it.status.must_allow("migrate", ALLOWED["migrate"])
    await submit(unit, "migrate_vm", it.vm, {"nics": len(it.nics.vm_nics), "host_uuid": request.host_uuid})
    return it.vm
