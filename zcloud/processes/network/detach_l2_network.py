"""Detaches an L2 network from a cluster: DHCP servers and bridge leave its hosts (CLU-05).

Hosts that can't be reached lose them when they connect again.
"""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.network import attachment
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import L2Network
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.network import bridges
from zcloud.processes.network.use import must_not_run_in


def clear_host(host_uuid: str) -> Step:
    """The step for one host, repeated until nothing of the network is left there."""

    async def following(unit: Unit, job: Job) -> Task | None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        l3_uuids = job.args["l3_network_uuids"]
        return await bridges.next_removal(unit, job, host_uuid, l2.uuid, l2.physical_interface, l3_uuids)

    async def do(unit: Unit, job: Job) -> Task | None:
        return await following(unit, job) if await bridges.reachable(unit, job, host_uuid) else None

    async def done(unit: Unit, job: Job, result: Any) -> None:
        await bridges.record(unit, job, await following(unit, job))

    async def undo(unit: Unit, job: Job) -> Task | None:
        """The bridge comes back; DHCP servers do with the next start of a VM."""
        l2 = await unit.get(L2Network, job.resource_uuid)
        networks = await unit.companion_of(HostNetworks, host_uuid)
        if networks.cleared_by.get(l2.uuid) != job.uuid or not await bridges.reachable(unit, job, host_uuid):
            return None
        return bridges.apply_task(host_uuid, l2.uuid, l2.physical_interface)

    async def undone(unit: Unit, job: Job, result: Any) -> None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        await bridges.record(unit, job, bridges.apply_task(host_uuid, l2.uuid, l2.physical_interface))

    return Step(f"clear_{host_uuid}", do, done, undo, undone, timeout=120, repeat=True)


class DetachL2Network(Workflow, name="detach_l2_network", version=1, title="detach L2 network"):
    """args: cluster_uuid, host_uuids: those that were connected, l3_network_uuids: those on the network."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(clear_host(host_uuid) for host_uuid in args["host_uuids"])

    async def begin(self, unit: Unit, job: Job) -> None:
        l2 = await unit.usable(L2Network, job.resource_uuid)
        cluster = await unit.get(Cluster, job.args["cluster_uuid"])
        await attachment.begin_detach(unit, l2, cluster)
        await must_not_run_in(unit, l2, cluster)

    async def succeed(self, unit: Unit, job: Job) -> None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        cluster = await unit.find(Cluster, job.args["cluster_uuid"])
        if cluster is None:
            return
        await attachment.detached(unit, l2, cluster)
        for host_uuid in await unit.port("views").where("host", cluster_uuid=cluster.uuid):
            networks = await unit.companion_of(HostNetworks, host_uuid)
            if l2.uuid in networks.bridges:
                for l3_uuid in job.args["l3_network_uuids"]:
                    networks.left_behind(l3_uuid)

    async def fail(self, unit: Unit, job: Job) -> None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        cluster = await unit.find(Cluster, job.args["cluster_uuid"])
        if cluster is not None:
            await attachment.abort_detach(unit, l2, cluster)
