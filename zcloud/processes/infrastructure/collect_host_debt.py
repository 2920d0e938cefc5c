"""Collects what a machine owes: when its host connects, and when a host with its address has been added (HST-04).

What is in use again, because it came back to this host, is left alone; what fails is owed still.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from zcloud.domain.compute.machine import machine
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import AT_REST
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.infrastructure.host_debt import AGENT, HostDebt, OwedItem, debt_uuids
from zcloud.domain.infrastructure.kvm_host import KvmHost
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import bridge_of
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.volume import Volume
from zcloud.kernel.job import Job, JobQueue, StepState
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Step, Task, Workflow, submit
from zcloud.processes.infrastructure.prepare import ON_CONNECTED
from zcloud.processes.infrastructure.ssh import ssh_target
from zcloud.processes.network import bridges
from zcloud.v1.host_task_pb2 import RemoveKvmAgentTask
from zcloud.v1.network_task_pb2 import RemoveDhcpTask
from zcloud.v1.primary_storage_task_pb2 import ReleasePrimaryStorageTask
from zcloud.v1.vm_instance_task_pb2 import StopVmTask
from zcloud.v1.volume_task_pb2 import DeleteVolumeTask

# Who uses what goes before it: guests before their disks and networks, DHCP servers before their bridges.
ORDER = ("vm_instance", "volume", "primary_storage", "l3_network", "l2_network", AGENT)


async def collectable(unit: Unit, host: Host) -> list[str]:
    """Debts of this host, and of a machine at its address that is a host no longer."""
    found = []
    for uuid in await unit.port("views").where("host_debt", management_ip=host.management_ip):
        debt = await unit.find(HostDebt, uuid)
        if debt is not None and debt.host_uuid != host.uuid and await unit.find(Host, debt.host_uuid) is None:
            found.append(uuid)
    own = await unit.find(HostDebt, *debt_uuids(host.uuid))
    return [*found, own.uuid] if own is not None else found


async def connected(unit: Unit, host: Host) -> None:
    """A job for each debt, with a step for each thing; none while one waits already."""
    queue = await unit.companion(JobQueue, host)
    waiting = [(await unit.get(Job, uuid)).args.get("debt") for uuid in queue.jobs]
    for uuid in await collectable(unit, host):
        if uuid not in waiting:
            items = [list(item.key) for item in in_order(await unit.get(HostDebt, uuid))]
            await submit(unit, "collect_host_debt", host, {"debt": uuid, "items": items})


def in_order(debt: HostDebt) -> list[OwedItem]:
    """As it is to be collected."""
    return sorted(debt.items, key=lambda item: ORDER.index(item.owed_kind))


async def owed(unit: Unit, job: Job, number: int) -> OwedItem | None:
    """The thing that the step is about, if it is owed still."""
    debt = await unit.find(HostDebt, job.args["debt"])
    key = tuple(job.args["items"][number])
    return next((i for i in debt.items if i.key == key), None) if debt is not None else None


async def collect(number: int, unit: Unit, job: Job) -> Task | None:
    """What removes it; nothing when it is in use here again."""
    host = await unit.get(Host, job.resource_uuid)
    item = await owed(unit, job, number)
    return await _task(unit, host, item) if item is not None else None


async def _task(unit: Unit, host: Host, item: OwedItem) -> Task | None:
    uuid = item.owed_uuid
    if item.owed_kind == "vm_instance":
        if await unit.find(VmInstance, uuid) is not None:
            status = (await machine(unit, uuid)).status
            if status.host_uuid == host.uuid and status.state not in AT_REST:
                return None
        return Task(host.uuid, StopVmTask(vm_instance_uuid=uuid, cold=True))
    if item.owed_kind == "volume":
        if await unit.find(Volume, uuid) is not None:
            return None
        return Task(host.uuid, DeleteVolumeTask(volume_uuid=uuid, path=item.paths[0], more_paths=item.paths[1:]))
    if item.owed_kind == "primary_storage":
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is not None and host.cluster_uuid in storage.attached_cluster_uuids:
            return None
        return Task(host.uuid, ReleasePrimaryStorageTask(primary_storage_uuid=uuid, directory=item.paths[0]))
    if item.owed_kind == AGENT:
        if uuid == host.uuid or not isinstance(host, KvmHost):
            return None
        return Task(NODE, RemoveKvmAgentTask(target=ssh_target(unit, host.management_ip, host), host_uuid=uuid))
    here = (await unit.companion(HostNetworks, host)).bridges
    if item.owed_kind == "l3_network":
        used = item.device in {bridge_of(l2_uuid) for l2_uuid in here}
        return None if used else Task(host.uuid, RemoveDhcpTask(l3_network_uuid=uuid, bridge=item.device))
    return None if uuid in here else bridges.remove_task(host.uuid, uuid, item.device)


class CollectHostDebt(Workflow, name="collect_host_debt", version=1, title="collect what is owed on host"):
    """args: debt; items, kind and uuid of each."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(
            Step(f"collect_{n + 1}", partial(collect, n), timeout=300, forgive=("do",))
            for n in range(len(args["items"]))
        )

    async def succeed(self, unit: Unit, job: Job) -> None:
        """What was removed, or is nobody's debt any more, is settled."""
        for number, step in enumerate(job.steps):
            item = await owed(unit, job, number)
            gone = step.state is StepState.DONE or (step.state is StepState.SKIPPED and not step.error)
            if item is not None and gone:
                (await unit.get(HostDebt, job.args["debt"])).settle(item)
        await _go_on(unit, job)


async def _go_on(unit: Unit, job: Job) -> None:
    """What has come to be owed meanwhile is collected next; what could not be is asked for again (host_debt_watch)."""
    host, debt = await unit.find(Host, job.resource_uuid), await unit.find(HostDebt, job.args["debt"])
    tried = [tuple(key) for key in job.args["items"]]
    items = [list(item.key) for item in in_order(debt) if item.key not in tried] if debt is not None else []
    if host is not None and items:
        await submit(unit, "collect_host_debt", host, {"debt": job.args["debt"], "items": items})


ON_CONNECTED.append(connected)
