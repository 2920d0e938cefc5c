"""Hosts of VMs, as workflows see them: whether one can be asked, and what it says a VM does."""

from __future__ import annotations

from zcloud.domain.compute.machine import answers, found, machine
from zcloud.domain.compute.vm_state import observed
from zcloud.domain.infrastructure.host import Host
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Task
from zcloud.v1.vm_instance_task_pb2 import ReadVmResult, ReadVmTask

READ_SECONDS = 60


async def must_reach(unit: Unit, host_uuid: str, what: str) -> None:
    """Refuses at once, instead of waiting for a host that may never come back.

    One whose agent has just dialled in (with another node, when its own has died) is asked in a moment.
    """
    if not await answers(unit, host_uuid):
        host = await unit.find(Host, host_uuid)
        name = f'host "{host.name}"' if host is not None else f"host {host_uuid}"
        text = f"cannot {what}: {name} is not Connected; try again when it is"
        raise precondition(Reason.WRONG_STATUS, text, host_uuid=host_uuid)


async def read(unit: Unit, job: Job) -> Task | None:
    """As an undo: what state is it really in? Nobody is asked when the host is not there to answer."""
    it = await machine(unit, job.resource_uuid)
    if not await answers(unit, it.status.host_uuid):
        return None
    return Task(it.status.host_uuid, ReadVmTask(vm_instance_uuid=it.vm.uuid))


async def was_read(unit: Unit, job: Job, result: ReadVmResult) -> None:
    """The host's answer is the VM's state."""
    it = await machine(unit, job.resource_uuid)
    host = await unit.get(Host, it.status.host_uuid)
    await found(unit, it, observed(result.state), f"{job.workflow.replace('_', ' ')} failed: {job.error}", host)
