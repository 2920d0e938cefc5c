"""Empties the recycle bin: VMs that have lain there for vm/expungePeriod are expunged (VM-05)."""

from __future__ import annotations

from zcloud.domain.compute.machine import machine
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import VmState
from zcloud.domain.operations.global_config import setting, setting_int
from zcloud.domain.storage.volume_room import is_served
from zcloud.kernel.clock import SECOND
from zcloud.kernel.job import JobQueue
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.watch import Watch


class VmExpunge(Watch, name="vm_expunge", interval=("vm", "expungeInterval")):
    """With vm/deletionPolicy Never, VMs stay until somebody expunges them."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].where("vm_instance", state=VmState.DESTROYED.value):
            await self.decide("its time in the recycle bin is over", lambda unit, uuid=uuid: expunge(unit, uuid))


async def expunge(unit: Unit, uuid: str) -> None:
    """Whether its time has come is decided on the newest facts."""
    vm = await unit.find(VmInstance, uuid)
    if vm is None or await setting(unit, "vm", "deletionPolicy", vm) == "Never":
        return
    it = await machine(unit, uuid)
    queue = await unit.companion(JobQueue, it.vm)
    over = it.status.destroyed_date + await setting_int(unit, "vm", "expungePeriod", vm) * SECOND
    due = it.status.state is VmState.DESTROYED and unit.now >= over and not queue.jobs and not it.vm.deleting_job
    if due and await is_served(unit, it.volume):
        await submit(unit, "expunge_vm_instance", it.vm)
