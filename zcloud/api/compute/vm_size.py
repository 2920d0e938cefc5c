"""UpdateVmInstance: name and description at any time, CPUs and memory while it does not run (VM-33)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.compute.machine import beside
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.kernel.unit import Unit


@command("UpdateVmInstance")
async def update_vm_instance(call: Call, unit: Unit, request: Any) -> VmInstance:
    """All that is asked for, or nothing of it."""
    given = arguments(call, request)
    size = {name: given.pop(name) for name in ("cpu_num", "memory_size") if name in given}
    vm = await unit.get(VmInstance, request.uuid)
    if size:
        it = await beside(unit, vm)
        it.status.must_allow("change CPUs or memory of", ALLOWED["resize"])
        vm.resize(size.get("cpu_num", vm.cpu_num), size.get("memory_size", vm.memory_size))
    vm.update(**given)
    return vm
