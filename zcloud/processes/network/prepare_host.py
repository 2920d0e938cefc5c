"""Networks of a host that connects: what left its cluster meanwhile is removed, what belongs to it is made (CLU-05)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.network.cluster_bridges import ClusterBridges
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import L2Network
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task
from zcloud.processes.infrastructure.prepare import prepare
from zcloud.processes.network import bridges


async def wanted(unit: Unit, host: Host) -> dict[str, str]:
    """L2 networks that the host shall have, with their devices."""
    cluster = await unit.find(Cluster, host.cluster_uuid)
    if cluster is None:
        return {}
    found = {}
    for l2_uuid, device in (await unit.companion(ClusterBridges, cluster)).wanted.items():
        l2 = await unit.find(L2Network, l2_uuid)
        if l2 is not None and not l2.deleting_job:
            found[l2_uuid] = device
    return found


async def next_stale(unit: Unit, job: Job) -> Task | None:
    """What is here and should not be."""
    host = await unit.get(Host, job.resource_uuid)
    networks = await unit.companion(HostNetworks, host)
    for l3_uuid in networks.stale_dhcp:
        return bridges.remove_dhcp_task(host.uuid, l3_uuid)
    here = await wanted(unit, host)
    for l2_uuid, bridge in sorted(networks.bridges.items()):
        if l2_uuid not in here:
            return bridges.remove_task(host.uuid, l2_uuid, bridge.physical_interface)
    return None


async def stale_removed(unit: Unit, job: Job, result: Any) -> None:
    """It is gone."""
    await bridges.record(unit, job, await next_stale(unit, job))


async def next_bridge(unit: Unit, job: Job) -> Task | None:
    """What this connect has not seen to yet: bridges do not outlive a reboot."""
    host = await unit.get(Host, job.resource_uuid)
    networks = await unit.companion(HostNetworks, host)
    for l2_uuid, device in sorted((await wanted(unit, host)).items()):
        known = networks.bridges.get(l2_uuid)
        if known is None or known.job_uuid != job.uuid:
            return bridges.apply_task(host.uuid, l2_uuid, device)
    return None


async def bridge_made(unit: Unit, job: Job, result: Any) -> None:
    """It is there."""
    await bridges.record(unit, job, await next_bridge(unit, job))


async def next_unmade(unit: Unit, job: Job) -> Task | None:
    """A host that could not be added keeps nothing; on one that only reconnected VMs may be using them."""
    if job.workflow != "add_host":
        return None
    host = await unit.get(Host, job.resource_uuid)
    networks = await unit.companion(HostNetworks, host)
    for l2_uuid, bridge in sorted(networks.bridges.items()):
        if bridge.job_uuid == job.uuid:
            return bridges.remove_task(host.uuid, l2_uuid, bridge.physical_interface)
    for l2_uuid, device in sorted((await wanted(unit, host)).items()):
        # One of them failed, which may have happened all the same.
        if l2_uuid not in networks.bridges and networks.cleared_by.get(l2_uuid) != job.uuid:
            return bridges.remove_task(host.uuid, l2_uuid, device)
    return None


async def unmade(unit: Unit, job: Job, result: Any) -> None:
    """It is gone again."""
    await bridges.record(unit, job, await next_unmade(unit, job))


# What can't be removed (a VM that should not be here uses it) is tried again at the next connect.
prepare(Step("clear_networks", next_stale, stale_removed, timeout=120, repeat=True, forgive=("do",)))
# A host that is lost while it is being added is removed, whatever stays on it.
prepare(
    Step(
        "l2_networks",
        next_bridge,
        bridge_made,
        next_unmade,
        unmade,
        timeout=120,
        repeat=True,
        forgive=("undo",),
    )
)
