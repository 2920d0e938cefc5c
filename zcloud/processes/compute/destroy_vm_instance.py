"""Deletes a VM to the recycle bin, and expunges it from there (VM-05, behaviours 9)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.machine import destroyed, forget, machine
from zcloud.domain.compute.vm_state import ALLOWED, INTERMEDIATE, VmEvent, VmState
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.operations.global_config import setting
from zcloud.domain.storage.volume_room import is_served, must_serve
from zcloud.kernel.job import Job, StepState
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow, submit
from zcloud.processes.compute import stop_steps
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.infrastructure.host_debt import owe_files, owe_stop
from zcloud.processes.storage import volume_tasks


class DestroyVmInstance(Workflow, name="destroy_vm_instance", version=1, title="delete VM"):
    """args: nics; mode=Enforcing deletes it also when its host can't be asked to stop it."""

    removes = True

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return stop_steps.steps(args["nics"])

    async def reached(self, unit: Unit, job: Job) -> bool:
        if await super().reached(unit, job):
            return True
        return (await machine(unit, job.resource_uuid)).status.state is VmState.DESTROYED

    async def begin(self, unit: Unit, job: Job) -> None:
        status = (await machine(unit, job.resource_uuid)).status
        status.must_allow("destroy", ALLOWED["destroy"] - INTERMEDIATE)
        status.take(VmEvent.DESTROYING)

    async def succeed(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        if it.status.before.state is VmState.CREATED:  # no host ever knew it: there is nothing to recover
            await forget(unit, it)
            return
        await owe_stop(unit, job, it.status)
        await destroyed(unit, it, stop_steps.owed(job, it.status))
        if await setting(unit, "vm", "deletionPolicy", it.vm) == "Direct" and await is_served(unit, it.volume):
            await submit(unit, "expunge_vm_instance", it.vm)

    async def fail(self, unit: Unit, job: Job) -> None:
        await stop_steps.conclude(unit, job, "stop")


async def delete_volume(unit: Unit, job: Job) -> Task | None:
    """The root volume's file; what lies on a host that is gone is gone with it."""
    it = await machine(unit, job.resource_uuid)
    host = await unit.find(Host, it.disk.host_uuid) if it.disk.install_path else None
    if host is None:
        return None
    await must_reach(unit, host.uuid, "delete the VM's root volume")
    return await volume_tasks.delete_task(unit, it.volume)


DELETE_VOLUME = Step("delete_root_volume", delete_volume, timeout=300, tolerant=True)


class ExpungeVmInstance(Workflow, name="expunge_vm_instance", version=1, title="expunge VM"):
    """For ever: the file, its room on the storage, and the records."""

    removes = True
    table = (DELETE_VOLUME,)

    async def begin(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        it.status.must_allow("expunge", ALLOWED["expunge"])
        await must_serve(unit, it.volume, "expunged")
        it.vm.begin_deletion(job.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        await owe_files(unit, job, it.volume)
        await forget(unit, it)

    async def fail(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        if job.steps[0].state is StepState.DONE:  # cancelled too late: there is nothing left to recover
            await forget(unit, it)
        else:
            it.vm.abort_deletion(job.error)
