"""Bridges on one host: tasks that make and remove them with what runs on them, and what their reports mean."""

from __future__ import annotations

from collections.abc import Iterable

from zcloud.domain.infrastructure.host import Host, HostStatus, Status
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import bridge_of
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Task
from zcloud.v1.network_task_pb2 import ApplyL2NetworkTask, RemoveDhcpTask, RemoveL2NetworkTask


def apply_task(host_uuid: str, l2_network_uuid: str, physical_interface: str) -> Task:
    """The bridge with the device as its port."""
    bridge = bridge_of(l2_network_uuid)
    return Task(
        host_uuid,
        ApplyL2NetworkTask(l2_network_uuid=l2_network_uuid, bridge=bridge, physical_interface=physical_interface),
    )


def remove_task(host_uuid: str, l2_network_uuid: str, physical_interface: str) -> Task:
    """The device is free again."""
    bridge = bridge_of(l2_network_uuid)
    return Task(
        host_uuid,
        RemoveL2NetworkTask(l2_network_uuid=l2_network_uuid, bridge=bridge, physical_interface=physical_interface),
    )


def remove_dhcp_task(host_uuid: str, l3_network_uuid: str, l2_network_uuid: str = "") -> Task:
    """The L3 network's DHCP server on the host; the bridge's name is for the record."""
    bridge = bridge_of(l2_network_uuid) if l2_network_uuid else ""
    return Task(host_uuid, RemoveDhcpTask(l3_network_uuid=l3_network_uuid, bridge=bridge))


async def is_connected(unit: Unit, host_uuid: str) -> bool:
    """The host is there and can be given work; one that is not is seen to when it connects again."""
    host = await unit.find(Host, host_uuid)
    if host is None:
        return False
    return (await unit.companion(HostStatus, host)).status is Status.CONNECTED


async def connected_hosts(unit: Unit, cluster_uuid: str) -> list[str]:
    """Those of a cluster, oldest first."""
    hosts = await unit.port("views").where("host", cluster_uuid=cluster_uuid)
    return [uuid for uuid in hosts if await is_connected(unit, uuid)]


async def reachable(unit: Unit, job: Job, host_uuid: str) -> bool:
    """Whether a step may go to a host. What was sent once is sent again, whatever became of the host meanwhile."""
    return bool(job.task_uuid) or await is_connected(unit, host_uuid)


async def next_removal(
    unit: Unit, job: Job, host_uuid: str, l2_network_uuid: str, physical_interface: str, l3_uuids: Iterable[str] = ()
) -> Task | None:
    """What this job has to remove next for an L2 network on a host: DHCP servers first, then the bridge they are on."""
    networks = await unit.companion_of(HostNetworks, host_uuid)
    for l3_uuid in l3_uuids:
        if networks.cleared_by.get(l3_uuid) != job.uuid:
            return remove_dhcp_task(host_uuid, l3_uuid, l2_network_uuid)
    if networks.cleared_by.get(l2_network_uuid) != job.uuid:
        return remove_task(host_uuid, l2_network_uuid, physical_interface)
    return None


async def record(unit: Unit, job: Job, task: Task | None) -> None:
    """The report of one of these tasks came: the host is as it said."""
    if task is None:
        return
    networks = await unit.companion_of(HostNetworks, task.target)
    args = task.args
    if isinstance(args, ApplyL2NetworkTask):
        networks.applied(args.l2_network_uuid, args.physical_interface, job.uuid)
    elif isinstance(args, RemoveL2NetworkTask):
        networks.cleared(args.l2_network_uuid, job.uuid)
    elif isinstance(args, RemoveDhcpTask):
        networks.cleared(args.l3_network_uuid, job.uuid)
