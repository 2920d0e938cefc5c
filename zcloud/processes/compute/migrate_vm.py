"""Lets a VM that runs go on, on another host that sees the same volumes (VM-38).

Room, networks and addresses wait for it there before it leaves. It is where its hypervisors say it is: where the report
of a migration is lost, the host that it was to come to is asked, and nothing is started or stopped.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from zcloud.domain.compute.machine import Machine, answers, machine, release_host
from zcloud.domain.compute.placement import destination
from zcloud.domain.compute.shared_volumes import follow
from zcloud.domain.compute.vm_state import ALLOWED, VmEvent, VmState
from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.infrastructure.host import Host, HostCapacity
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import L2Network
from zcloud.domain.network.l3_network import L3Network
from zcloud.domain.operations.global_config import setting
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.hosts import READ_SECONDS, must_reach
from zcloud.processes.compute.start_steps import spec, touched
from zcloud.processes.compute.stop_steps import conclude
from zcloud.processes.network import dhcp
from zcloud.v1.vm_instance_task_pb2 import (
    MigrateVmTask,
    PrepareMigrationTask,
    ReadVmResult,
    ReadVmTask,
)

MIGRATE_SECONDS = 3600


async def _leaving(unit: Unit, job: Job) -> Machine | None:
    """The VM, while it is on its way: when a host has said meanwhile what it does, nothing is left to do."""
    it = await machine(unit, job.resource_uuid)
    return it if it.status.state is VmState.MIGRATING else None


async def _l3(unit: Unit, it: Machine, number: int) -> L3Network | None:
    nics = it.nics.vm_nics
    return await unit.find(L3Network, nics[number].l3_network_uuid) if number < len(nics) else None


async def apply_l2(number: int, unit: Unit, job: Job) -> Task | None:
    """The bridge there."""
    it = await _leaving(unit, job)
    l3 = await _l3(unit, it, number) if it is not None else None
    return await dhcp.l2_task(unit, l3, it.status.destination_uuid) if it is not None and l3 is not None else None


async def l2_applied(number: int, unit: Unit, job: Job, result: Any) -> None:
    """The host has the bridge."""
    it = await machine(unit, job.resource_uuid)
    l3 = await _l3(unit, it, number)
    if l3 is not None:
        l2 = await unit.get(L2Network, l3.l2_network_uuid)
        networks = await unit.companion_of(HostNetworks, it.status.destination_uuid)
        networks.applied(l2.uuid, l2.physical_interface, job.uuid)


async def apply_dhcp(number: int, unit: Unit, job: Job) -> Task | None:
    """The guest's address, on the DHCP server there."""
    it = await _leaving(unit, job)
    l3 = await _l3(unit, it, number) if it is not None else None
    if it is None or l3 is None:
        return None
    entry = dhcp.entry(it.nics.vm_nics[number], it.vm.name, l3.uuid == it.nics.default_l3_network_uuid, l3)
    return await dhcp.dhcp_task(unit, l3, it.status.destination_uuid, [entry])


async def _release(unit: Unit, it: Machine, number: int, host_uuid: str) -> Task | None:
    l3 = await _l3(unit, it, number)
    if l3 is None or not await answers(unit, host_uuid):
        return None
    return await dhcp.release_dhcp_task(unit, l3, host_uuid, [it.nics.vm_nics[number].mac])


async def take_back_dhcp(number: int, unit: Unit, job: Job) -> Task | None:
    """It did not come."""
    it = await machine(unit, job.resource_uuid)
    came = it.status.host_uuid == it.status.destination_uuid
    if came or not touched(job, f"dhcp_{number + 1}"):
        return None
    return await _release(unit, it, number, it.status.destination_uuid)


async def prepare(unit: Unit, job: Job) -> Task | None:
    """All that it needs is there."""
    it = await _leaving(unit, job)
    if it is None:
        return None
    await must_reach(unit, it.status.destination_uuid, "take the VM in")
    host = await unit.get(Host, it.status.destination_uuid)
    cluster = await unit.get(Cluster, host.cluster_uuid)
    task = PrepareMigrationTask(
        spec=await spec(unit, it),
        address=host.management_ip,
        source_host_uuid=it.status.host_uuid,
        network=await setting(unit, "host", "migration.network", cluster),
    )
    return Task(host.uuid, task)


async def migrate(unit: Unit, job: Job) -> Task | None:
    """The host where it runs sends it."""
    it = await _leaving(unit, job)
    if it is None:
        return None
    await must_reach(unit, it.status.host_uuid, "migrate the VM")
    host = await unit.get(Host, it.status.destination_uuid)
    door = {name: job.results["prepare"].get(name) for name in ("uri", "port", "certificate")}
    address = job.results["prepare"].get("address") or host.management_ip
    task = MigrateVmTask(vm_instance_uuid=it.vm.uuid, address=address, **door)
    return Task(it.status.host_uuid, task)


async def migrated(unit: Unit, job: Job, result: Any) -> None:
    """It runs there; its old host has room again, and its volumes are worked on by the new one."""
    it = await _leaving(unit, job)
    if it is not None:
        host = await unit.get(Host, it.status.destination_uuid)
        await release_host(unit, it)
        it.status.take(VmEvent.MIGRATED, host=(host.uuid, host.cluster_uuid, host.hypervisor_type))
        await follow(unit, it, host)


async def ask(unit: Unit, job: Job) -> Task | None:
    """Did it come? Nobody is asked when the host is not there to answer."""
    it = await _leaving(unit, job)
    if it is None or not await answers(unit, it.status.destination_uuid):
        return None
    return Task(it.status.destination_uuid, ReadVmTask(vm_instance_uuid=it.vm.uuid))


async def answered(unit: Unit, job: Job, result: ReadVmResult) -> None:
    """If it runs there, it came; else it is where it was, as the next report of that host will confirm."""
    if result.state == VmState.RUNNING.value:
        await migrated(unit, job, result)


async def release_dhcp(number: int, unit: Unit, job: Job) -> Task | None:
    """The host that it left forgets its address."""
    it = await machine(unit, job.resource_uuid)
    left = it.status.last_host_uuid
    return await _release(unit, it, number, left) if left and left != it.status.host_uuid else None


def _steps(nics: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    for n in range(nics):
        steps.append(Step(f"l2_network_{n + 1}", partial(apply_l2, n), partial(l2_applied, n)))
        undo = partial(take_back_dhcp, n)
        steps.append(Step(f"dhcp_{n + 1}", partial(apply_dhcp, n), undo=undo, forgive=("undo",)))
    steps.append(Step("prepare", prepare, timeout=READ_SECONDS))
    steps.append(Step("migrate", migrate, migrated, undo=ask, undone=answered, timeout=MIGRATE_SECONDS))
    for n in range(nics):
        steps.append(Step(f"release_dhcp_{n + 1}", partial(release_dhcp, n), timeout=60, forgive=("do",)))
    return tuple(steps)


class MigrateVm(Workflow, name="migrate_vm", version=1, title="migrate VM"):
    """args: nics; host_uuid, where it is to go, or empty."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return _steps(args["nics"])

    async def begin(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        it.status.must_allow("migrate", ALLOWED["migrate"])
        chosen = await destination(unit, it, job.args.get("host_uuid", ""))
        unit.detail = chosen.report
        it.status.migrate(chosen.host.uuid)

    async def fail(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        host = await unit.find(Host, it.status.destination_uuid)
        if host is not None and it.status.host_uuid != host.uuid:
            (await unit.companion(HostCapacity, host)).release(it.vm.uuid)
        await conclude(unit, job, "migrate")
