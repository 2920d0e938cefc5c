"""Steps that take a VM down where it runs, and what is said when that fails or is given up."""

from __future__ import annotations

from functools import partial

from zcloud.domain.compute.machine import machine
from zcloud.domain.compute.vm_state import AT_REST, INTERMEDIATE, VmEvent
from zcloud.domain.compute.vm_status import VmInstanceStatus
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.job import Job, StepState
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task
from zcloud.processes.compute.hosts import READ_SECONDS, must_reach, read, was_read
from zcloud.processes.network import dhcp
from zcloud.v1.vm_instance_task_pb2 import StopVmTask

# How long a guest may take to shut down by itself.
GRACE_SECONDS = 60


async def stop(unit: Unit, job: Job) -> Task | None:
    """By the guest's own shutdown, or by taking the power away. What runs nowhere needs neither."""
    it = await machine(unit, job.resource_uuid)
    if not it.status.host_uuid or it.status.state in AT_REST:
        return None
    await must_reach(unit, it.status.host_uuid, "stop the VM")
    cold = job.args.get("type") != "Grace"
    return Task(it.status.host_uuid, StopVmTask(vm_instance_uuid=it.vm.uuid, cold=cold, grace_seconds=GRACE_SECONDS))


async def release_dhcp(number: int, unit: Unit, job: Job) -> Task | None:
    """The host's DHCP server forgets the guest, which may start on another host."""
    it = await machine(unit, job.resource_uuid)
    host_uuid = it.status.host_uuid
    if number >= len(it.nics.vm_nics) or not host_uuid or given_up(job):
        return None
    await must_reach(unit, host_uuid, "release the VM's DHCP entry")
    nic = it.nics.vm_nics[number]
    l3 = await unit.find(L3Network, nic.l3_network_uuid)
    return await dhcp.release_dhcp_task(unit, l3, host_uuid, [nic.mac]) if l3 is not None else None


STOP = Step(
    "stop",
    stop,
    undo=read,
    undone=was_read,
    timeout=GRACE_SECONDS + READ_SECONDS,
    tolerant=True,
    forgive=("undo",),
)


def steps(nics: int) -> tuple[Step, ...]:
    """A DHCP entry that stays does no harm, so it holds up nothing."""
    return (
        STOP,
        *(
            Step(f"release_dhcp_{number + 1}", partial(release_dhcp, number), timeout=60, forgive=("do",))
            for number in range(nics)
        ),
    )


def given_up(job: Job) -> str:
    """Why the stop was passed over, in a deletion that is enforced; empty when it was not."""
    step = next((step for step in job.steps if step.name == "stop"), None)
    return step.error if step is not None and step.state is StepState.SKIPPED else ""


def owed(job: Job, status: VmInstanceStatus) -> str:
    """What is said of a VM that was given up: it may still run there, and somebody must see to that."""
    why = given_up(job)
    return f"given up; it may still run on host {status.host_uuid}, which owes its stop: {why}" if why else ""


def uncertain(job: Job, name: str) -> bool:
    """The step was sent, and neither its report nor its undo said what has become of it."""
    step = next(step for step in job.steps if step.name == name)
    if step.state is StepState.SKIPPED:
        return bool(step.error)
    return step.state not in (StepState.PENDING, StepState.UNDONE)


def taken_down(job: Job) -> bool:
    """It was started, and then its start was undone."""
    return any(step.name == "start" and step.state is StepState.UNDONE for step in job.steps)


async def conclude(unit: Unit, job: Job, step: str) -> None:
    """The operation failed: back to what was before, unless that step was sent and nobody could say what it did."""
    status = (await machine(unit, job.resource_uuid)).status
    if status.state not in INTERMEDIATE:
        return
    reason = f"{job.workflow.replace('_', ' ')} failed: {job.error}"
    if uncertain(job, step):
        status.take(VmEvent.UNKNOWN, reason)
    else:
        status.revert(reason)
