"""Reboots a VM where it runs, pauses it, and lets it go on (VM-04). When that fails, its host says what it does."""

from __future__ import annotations

from zcloud.domain.compute.machine import machine
from zcloud.domain.compute.vm_state import ALLOWED, VmEvent
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.hosts import READ_SECONDS, must_reach, read, was_read
from zcloud.processes.compute.start_steps import spec
from zcloud.processes.compute.stop_steps import GRACE_SECONDS, conclude
from zcloud.v1.vm_instance_task_pb2 import PauseVmTask, RebootVmTask, ResumeVmTask


async def reboot(unit: Unit, job: Job) -> Task:
    """On the same host, with the NICs that it has now."""
    it = await machine(unit, job.resource_uuid)
    await must_reach(unit, it.status.host_uuid, "reboot the VM")
    return Task(it.status.host_uuid, RebootVmTask(spec=await spec(unit, it), grace_seconds=GRACE_SECONDS))


async def pause(unit: Unit, job: Job) -> Task:
    """Its CPUs stop."""
    it = await machine(unit, job.resource_uuid)
    await must_reach(unit, it.status.host_uuid, "pause the VM")
    return Task(it.status.host_uuid, PauseVmTask(vm_instance_uuid=it.vm.uuid))


async def resume(unit: Unit, job: Job) -> Task:
    """Its CPUs go on."""
    it = await machine(unit, job.resource_uuid)
    await must_reach(unit, it.status.host_uuid, "resume the VM")
    return Task(it.status.host_uuid, ResumeVmTask(vm_instance_uuid=it.vm.uuid))


class OnHost:
    """One step on the host where the VM is, between an intermediate state and the one it is to end in."""

    operation: str
    meanwhile: VmEvent
    at_last: VmEvent

    async def begin(self, unit: Unit, job: Job) -> None:
        status = (await machine(unit, job.resource_uuid)).status
        status.must_allow(self.operation, ALLOWED[self.operation])
        status.take(self.meanwhile)

    async def succeed(self, unit: Unit, job: Job) -> None:
        (await machine(unit, job.resource_uuid)).status.take(self.at_last)

    async def fail(self, unit: Unit, job: Job) -> None:
        await conclude(unit, job, self.operation)


def _table(name: str, do: object, timeout: int) -> tuple[Step, ...]:
    return (Step(name, do, undo=read, undone=was_read, timeout=timeout, forgive=("undo",)),)  # type: ignore[arg-type]


class RebootVmInstance(OnHost, Workflow, name="reboot_vm_instance", version=1, title="reboot VM"):
    """By the guest's own shutdown if it hears of it in time."""

    operation, meanwhile, at_last = "reboot", VmEvent.REBOOTING, VmEvent.RUNNING
    table = _table("reboot", reboot, GRACE_SECONDS + READ_SECONDS)


class PauseVmInstance(OnHost, Workflow, name="pause_vm_instance", version=1, title="pause VM"):
    """Its memory stays on the host."""

    operation, meanwhile, at_last = "pause", VmEvent.PAUSING, VmEvent.PAUSED
    table = _table("pause", pause, READ_SECONDS)


class ResumeVmInstance(OnHost, Workflow, name="resume_vm_instance", version=1, title="resume VM"):
    """From where it stood."""

    operation, meanwhile, at_last = "resume", VmEvent.RESUMING, VmEvent.RUNNING
    table = _table("resume", resume, READ_SECONDS)
