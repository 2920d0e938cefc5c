"""Deletion of networks: refused while NICs use them, then DHCP servers and bridges leave the hosts (behaviours 10)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.network import attachment
from zcloud.domain.network.addressing import L3Addressing
from zcloud.domain.network.cluster_bridges import ClusterBridges
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.ip_range import IpRange
from zcloud.domain.network.l2_network import L2Attachments, L2Network
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task
from zcloud.processes.network import bridges
from zcloud.processes.network.use import l3_networks_of, must_be_unused, ranges_of
from zcloud.processes.operations.deletion import STEPS, guard, on_delete


def permissive(job: Job) -> bool:
    """Enforcing detaches NICs; Permissive refuses."""
    return job.args.get("mode") != "Enforcing"


@guard("ip_range")
async def range_unused(unit: Unit, ip_range: Resource, job: Job) -> None:
    """No NIC has an address of it."""
    if permissive(job) and isinstance(ip_range, IpRange):
        await must_be_unused(unit, f'IP range "{ip_range.name}"', [ip_range])


@guard("l3_network")
async def l3_unused(unit: Unit, l3: Resource, job: Job) -> None:
    """No NIC has an address of any of its ranges."""
    if permissive(job) and isinstance(l3, L3Network):
        await must_be_unused(unit, f'L3 network "{l3.name}"', await ranges_of(unit, l3))


@guard("l2_network")
async def l2_unused(unit: Unit, l2: Resource, job: Job) -> None:
    """No NIC is on any L3 network of it."""
    if permissive(job) and isinstance(l2, L2Network):
        for l3 in await l3_networks_of(unit, l2):
            await must_be_unused(unit, f'L2 network "{l2.name}"', await ranges_of(unit, l3))


async def hosts_of(unit: Unit, job: Job, l2: L2Network) -> list[str]:
    """Connected hosts of the clusters it is attached to; while a task is out, the host that has it."""
    if job.task_uuid:
        return [job.target]
    found = []
    for cluster_uuid in (await unit.companion(L2Attachments, l2)).attached_cluster_uuids:
        found += await bridges.connected_hosts(unit, cluster_uuid)
    return found


async def next_server(unit: Unit, job: Job) -> Task | None:
    """The DHCP server of an L3 network, host by host."""
    l3 = await unit.get(L3Network, job.resource_uuid)
    l2 = await unit.get(L2Network, l3.l2_network_uuid)
    for host_uuid in await hosts_of(unit, job, l2):
        if (await unit.companion_of(HostNetworks, host_uuid)).cleared_by.get(l3.uuid) != job.uuid:
            return bridges.remove_dhcp_task(host_uuid, l3.uuid, l2.uuid)
    return None


async def server_removed(unit: Unit, job: Job, result: Any) -> None:
    """It runs no more."""
    await bridges.record(unit, job, bridges.remove_dhcp_task(job.target, job.resource_uuid))


async def next_bridge(unit: Unit, job: Job) -> Task | None:
    """The bridge of an L2 network, host by host."""
    l2 = await unit.get(L2Network, job.resource_uuid)
    for host_uuid in await hosts_of(unit, job, l2):
        task = await bridges.next_removal(unit, job, host_uuid, l2.uuid, l2.physical_interface)
        if task is not None:
            return task
    return None


async def bridge_removed(unit: Unit, job: Job, result: Any) -> None:
    """It is gone."""
    l2 = await unit.get(L2Network, job.resource_uuid)
    await bridges.record(unit, job, bridges.remove_task(job.target, l2.uuid, l2.physical_interface))


async def next_restored(unit: Unit, job: Job) -> Task | None:
    """The network stays after all, so its bridges come back."""
    l2 = await unit.get(L2Network, job.resource_uuid)
    for host_uuid in await hosts_of(unit, job, l2):
        if (await unit.companion_of(HostNetworks, host_uuid)).cleared_by.get(l2.uuid) == job.uuid:
            return bridges.apply_task(host_uuid, l2.uuid, l2.physical_interface)
    return None


async def bridge_restored(unit: Unit, job: Job, result: Any) -> None:
    """It is there again."""
    l2 = await unit.get(L2Network, job.resource_uuid)
    await bridges.record(unit, job, bridges.apply_task(job.target, l2.uuid, l2.physical_interface))


STEPS["l3_network"] = (Step("dhcp", next_server, server_removed, timeout=120, repeat=True, tolerant=True),)
STEPS["l2_no_vlan_network"] = (
    Step(
        "bridges",
        next_bridge,
        bridge_removed,
        next_restored,
        bridge_restored,
        timeout=120,
        repeat=True,
        tolerant=True,
    ),
)


@on_delete("ip_range")
async def range_gone(unit: Unit, ip_range: Resource) -> None:
    """The L3 network gives no address of it any more."""
    assert isinstance(ip_range, IpRange)
    l3 = await unit.find(L3Network, ip_range.l3_network_uuid)
    if l3 is not None:
        (await unit.companion(L3Addressing, l3)).remove(ip_range.uuid)


@on_delete("l3_network")
async def l3_gone(unit: Unit, l3: Resource) -> None:
    """Hosts that could not be reached are told when they connect."""
    assert isinstance(l3, L3Network)
    (await unit.companion(L3Addressing, l3)).close()
    l2 = await unit.find(L2Network, l3.l2_network_uuid)
    if l2 is None:
        return
    for cluster_uuid in (await unit.companion(L2Attachments, l2)).attached_cluster_uuids:
        for host_uuid in await unit.port("views").where("host", cluster_uuid=cluster_uuid):
            networks = await unit.companion_of(HostNetworks, host_uuid)
            if networks.cleared_by.get(l3.uuid) != l3.deleting_job and l2.uuid in networks.bridges:
                networks.left_behind(l3.uuid)


@on_delete("l2_network")
async def l2_gone(unit: Unit, l2: Resource) -> None:
    """Its clusters have its device for other networks."""
    assert isinstance(l2, L2Network)
    attachments = await unit.companion(L2Attachments, l2)
    for cluster_uuid in (*attachments.attached_cluster_uuids, *attachments.attaching):
        cluster = await unit.find(Cluster, cluster_uuid)
        if cluster is not None:
            await attachment.detached(unit, l2, cluster, "the network was deleted")


@on_delete("cluster")
async def cluster_gone(unit: Unit, cluster: Resource) -> None:
    """Networks are no longer attached to it; its hosts went before."""
    assert isinstance(cluster, Cluster)
    for l2_uuid in (await unit.companion(ClusterBridges, cluster)).interfaces:
        l2 = await unit.find(L2Network, l2_uuid)
        if l2 is not None:
            await attachment.detached(unit, l2, cluster, "the cluster was deleted")
