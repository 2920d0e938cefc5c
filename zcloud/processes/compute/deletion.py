"""What deletions mean for VMs: their own, and those of what they rest on (behaviours 10)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.machine import beside, forget, machine
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.network import addresses
from zcloud.domain.network.l3_network import L3Network
from zcloud.domain.operations.global_config import setting_bool
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Task, Workflow
from zcloud.processes.compute.destroy_vm_instance import DELETE_VOLUME
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.stop_steps import STOP, given_up
from zcloud.processes.infrastructure.host_debt import owe_files, owe_stop
from zcloud.processes.network import dhcp
from zcloud.processes.operations.deletion import REACTIONS, STEPS, on_delete


async def release_nic(unit: Unit, job: Job) -> Task | None:
    """The DHCP entry of the first NIC that has an address; with the entry the address goes."""
    it = await machine(unit, job.resource_uuid)
    nic = next((nic for nic in it.nics.vm_nics if nic.ip), None)
    if nic is None or not it.status.host_uuid or given_up(job):
        return None
    await must_reach(unit, it.status.host_uuid, "release the VM's DHCP entry")
    return await dhcp.release_dhcp_task(
        unit, await unit.get(L3Network, nic.l3_network_uuid), it.status.host_uuid, [nic.mac]
    )


async def nic_released(unit: Unit, job: Job, result: Any) -> None:
    """The address is free."""
    it = await machine(unit, job.resource_uuid)
    nic = next(nic for nic in it.nics.vm_nics if nic.ip)
    await addresses.release(unit, nic.ip_range_uuid, nic.uuid)
    it.nics.release(nic.uuid)


STEPS["vm_instance"] = (
    STOP,
    Step("release_network", release_nic, nic_released, timeout=60, repeat=True, forgive=("do",)),
    DELETE_VOLUME,
)


@on_delete("vm_instance")
async def forget_vm(unit: Unit, vm: Resource) -> None:
    """Every book forgets it, and its volume goes with it."""
    assert isinstance(vm, VmInstance)
    it = await beside(unit, vm)
    if vm.deleting_job:
        job = await unit.get(Job, vm.deleting_job)
        await owe_stop(unit, job, it.status)
        await owe_files(unit, job, it.volume)
    await forget(unit, it)


@on_delete("instance_offering")
async def lose_offering(unit: Unit, offering: Resource) -> None:
    """VMs keep their numbers."""
    if not await setting_bool(unit, "vm", "instanceOffering.setNullWhenDeleting"):
        return
    for uuid in await unit.port("views").where("vm_instance", instance_offering_uuid=offering.uuid):
        vm = await unit.find(VmInstance, uuid)
        if vm is not None:
            vm.lose_offering()


async def live_on(unit: Unit, child: Resource, parent: Resource, deletion: dict[str, str]) -> None:
    """The VM needs nothing of it any more."""


async def leave_host(unit: Unit, child: Resource, parent: Resource, deletion: dict[str, str]) -> SubJob:
    """A VM whose host goes is stopped; when zone or cluster go with it, it is deleted."""
    if deletion["root"] in ("zone", "cluster"):
        return SubJob("delete_resource", child, {**deletion, "kind": child.kind})
    nics = len((await machine(unit, child.uuid)).nics.vm_nics)
    reason = f'host "{parent.name}" was deleted'
    return SubJob("stop_vm_instance", child, {**deletion, "type": "Cold", "nics": nics, "reason": reason})


async def leave_network(unit: Unit, child: Resource, parent: Resource, deletion: dict[str, str]) -> SubJob:
    """It loses the NICs that it has there."""
    return SubJob("detach_vm_nics", child, {"uuid": parent.uuid})


REACTIONS["vm_instance", "host"] = leave_host
REACTIONS["vm_instance", "l3_network"] = leave_network
REACTIONS["vm_instance", "ip_range"] = leave_network
REACTIONS["vm_instance", "instance_offering"] = live_on


class DetachVmNics(Workflow, name="detach_vm_nics", version=1, title="detach NICs of VM"):
    """args: uuid, of the L3 network or IP range that goes. A guest that runs loses them at its next start."""

    async def succeed(self, unit: Unit, job: Job) -> None:
        if await unit.find(VmInstance, job.resource_uuid) is None:
            return  # it went while this waited for its turn, and its NICs with it
        it = await machine(unit, job.resource_uuid)
        for nic in it.nics.vm_nics:
            if job.args["uuid"] in (nic.l3_network_uuid, nic.ip_range_uuid):
                await addresses.release(unit, nic.ip_range_uuid, nic.uuid)
                it.nics.detach(nic.uuid)
