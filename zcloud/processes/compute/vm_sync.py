"""Compares what hosts say of VMs with what is recorded, and records what is really so (behaviours 1, user-ask 8).

A report says nothing of a VM whose state a job is at work on: the job will say. Any other difference is looked at by
a job of the VM's own, since what a host listed may be older than an operation that has just ended; only a VM of which
nothing is known is believed at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from zcloud.domain.compute.machine import Machine, found, machine
from zcloud.domain.compute.shared_volumes import follow
from zcloud.domain.compute.strangers import HostStrangers
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import AT_REST, INTERMEDIATE, OBSERVED, VmState, observed
from zcloud.domain.infrastructure.host import Host
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.job import Job, JobQueue
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow, submit
from zcloud.processes.compute.hosts import READ_SECONDS
from zcloud.processes.infrastructure.host_watch import ON_INVENTORY, ON_LOST
from zcloud.processes.infrastructure.prepare import ON_SEEN
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.vm_instance_task_pb2 import ReadVmResult, ReadVmTask, StopVmTask

# Jobs of a VM that leave its state alone.
ASIDE = frozenset(
    {
        "attach_data_volume",
        "detach_data_volume",
        "resize_volume",
        "create_volume_snapshots",
        "delete_volume_snapshot",
        "revert_volumes",
        "reimage_vm_instance",
        "attach_iso",
        "detach_iso",
        "copy_vm_volumes",
    }
)
GONE = "its host does not have it any more"


async def host_lost(unit: Unit, host: Host, reason: str) -> None:
    """Nobody knows what its VMs do, and none of them starts elsewhere; one that is being worked on is its job's."""
    for uuid in await unit.port("views").where("vm_instance", host_uuid=host.uuid):
        if await unit.find(VmInstance, uuid) is not None:
            it = await machine(unit, uuid)
            if it.status.host_uuid == host.uuid and it.status.state not in INTERMEDIATE:
                it.status.lost(f'host "{host.name}": {reason}')


async def host_seen(cloud: Cloud, host: Host, inventory: HostInventory) -> None:
    """What a host's agent sent by itself."""
    seen = {vm.vm_instance_uuid: OBSERVED[vm.state] for vm in inventory.vms if vm.state in OBSERVED}
    # Of a VM in a state that no VM is in nothing is known; least of all that it is gone.
    complete = inventory.complete and len(seen) == len(inventory.vms)
    context = cloud.by_itself("vm_sync")
    await cloud.decide(context, lambda unit: compare(unit, host.uuid, seen, complete=complete))


async def host_connected(unit: Unit, host: Host, states: Mapping[str, str]) -> None:
    """What it said when it connected: all that it has."""
    await compare(unit, host.uuid, {uuid: observed(state) for uuid, state in states.items()}, complete=True)


async def compare(unit: Unit, host_uuid: str, seen: Mapping[str, VmState], *, complete: bool) -> None:
    """complete: what is not named is not there."""
    recorded = await unit.port("views").where("vm_instance", host_uuid=host_uuid) if complete else []
    host = await unit.find(Host, host_uuid)
    if host is None:
        return
    strangers = []
    for uuid, state in seen.items():
        if await unit.find(VmInstance, uuid) is None:
            strangers.append(uuid)
        else:
            await consider(unit, host, await machine(unit, uuid), state, f"found {state.value} on its host")
    for uuid in recorded:
        if uuid not in seen and await unit.find(VmInstance, uuid) is not None:
            it = await machine(unit, uuid)
            if it.status.host_uuid == host_uuid and it.status.state not in AT_REST:
                await consider(unit, host, it, VmState.STOPPED, GONE)
    if complete or strangers:
        (await unit.companion(HostStrangers, host)).seen(tuple(sorted(strangers)), complete=complete)


async def consider(unit: Unit, host: Host, it: Machine, state: VmState, reason: str) -> None:
    """One VM and what its host said of it."""
    queue = await unit.companion(JobQueue, it.vm)
    recorded = it.status.state
    here = it.status.host_uuid == host.uuid
    alive = state is not VmState.STOPPED
    if recorded in INTERMEDIATE or (recorded is state and (here or not alive)):
        return
    if queue.jobs and not await _aside(unit, queue):
        return
    if recorded is VmState.DESTROYED:
        if alive:
            await submit(unit, "stop_stray_vm_instance", it.vm, {"host_uuid": host.uuid})
    elif recorded is VmState.UNKNOWN and here:
        await found(unit, it, state, reason, host)
    elif alive or here:
        await submit(unit, "read_vm_instance", it.vm, {"host_uuid": host.uuid, "reason": reason})


async def _aside(unit: Unit, queue: JobQueue) -> bool:
    """The jobs at work and in wait are about volumes: they will not say what the VM does, so somebody has to look."""
    return all([(await unit.get(Job, uuid)).workflow in ASIDE for uuid in queue.jobs])


async def ask(unit: Unit, job: Job) -> Task:
    """The host that the report was about."""
    return Task(job.args["host_uuid"], ReadVmTask(vm_instance_uuid=job.resource_uuid))


async def answered(unit: Unit, job: Job, result: ReadVmResult) -> None:
    """What is so now is recorded. A VM that another host has is not stopped by a host that has it not."""
    it = await machine(unit, job.resource_uuid)
    host = await unit.get(Host, job.args["host_uuid"])
    state = observed(result.state)
    if it.status.state is VmState.DESTROYED or (state is VmState.STOPPED and it.status.host_uuid != host.uuid):
        return
    unit.because(it.status, job.args["reason"])
    await found(unit, it, state, job.args["reason"], host)
    if it.status.host_uuid == host.uuid:
        await follow(unit, it, host)


async def stop_stray(unit: Unit, job: Job) -> Task:
    """It is in the recycle bin: nothing of it may run."""
    return Task(job.args["host_uuid"], StopVmTask(vm_instance_uuid=job.resource_uuid, cold=True))


class ReadVmInstance(Workflow, name="read_vm_instance", version=1, title="look at VM"):
    """args: host_uuid, and the reason why it is looked at."""

    table = (Step("read", ask, answered, timeout=READ_SECONDS),)


class StopStrayVmInstance(Workflow, name="stop_stray_vm_instance", version=1, title="stop deleted VM"):
    """args: host_uuid, where it was seen."""

    table = (Step("stop", stop_stray, timeout=READ_SECONDS),)


ON_LOST.append(host_lost)
ON_INVENTORY.append(host_seen)
ON_SEEN.append(host_connected)
