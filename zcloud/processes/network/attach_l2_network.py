"""Attaches an L2 network to a cluster: every connected host gets the bridge, and it is undone if one does not (CLU-05).

Hosts that connect later get it from their connect.
"""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.network import attachment
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import L2Network
from zcloud.kernel.job import Job, JobQueue, StepState
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.network import bridges


def bridge_on(host_uuid: str) -> Step:
    """The step for one host."""

    async def do(unit: Unit, job: Job) -> Task | None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        if not await bridges.reachable(unit, job, host_uuid):
            return None
        return bridges.apply_task(host_uuid, l2.uuid, l2.physical_interface)

    async def done(unit: Unit, job: Job, result: Any) -> None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        await bridges.record(unit, job, bridges.apply_task(host_uuid, l2.uuid, l2.physical_interface))

    async def undo(unit: Unit, job: Job) -> Task | None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        if not await bridges.reachable(unit, job, host_uuid):
            return None
        return bridges.remove_task(host_uuid, l2.uuid, l2.physical_interface)

    async def undone(unit: Unit, job: Job, result: Any) -> None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        await bridges.record(unit, job, bridges.remove_task(host_uuid, l2.uuid, l2.physical_interface))

    return Step(f"bridge_on_{host_uuid}", do, done, undo, undone, timeout=120)


class AttachL2Network(Workflow, name="attach_l2_network", version=1, title="attach L2 network"):
    """args: cluster_uuid, and host_uuids: those that were connected."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(bridge_on(host_uuid) for host_uuid in args["host_uuids"])

    async def begin(self, unit: Unit, job: Job) -> None:
        l2 = await unit.usable(L2Network, job.resource_uuid)
        await attachment.begin_attach(unit, l2, await unit.usable(Cluster, job.args["cluster_uuid"]))

    async def succeed(self, unit: Unit, job: Job) -> None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        cluster = await unit.find(Cluster, job.args["cluster_uuid"])
        if cluster is not None:
            await attachment.attached(unit, l2, cluster)

    async def fail(self, unit: Unit, job: Job) -> None:
        l2 = await unit.get(L2Network, job.resource_uuid)
        cluster = await unit.find(Cluster, job.args["cluster_uuid"])
        if cluster is not None:
            await attachment.detached(unit, l2, cluster, job.error)
        sent = dict(zip(job.args["host_uuids"], job.steps, strict=True))
        for host_uuid in await unit.port("views").where("host", cluster_uuid=job.args["cluster_uuid"]):
            if await unit.find(Host, host_uuid) is None:
                continue
            # Lost before it could be undone, or about to be made by a connect which began while the network was
            # wanted: what may be there is removed when the host connects again.
            lost = host_uuid in sent and sent[host_uuid].state in (StepState.DONE, StepState.FAILED)
            if lost or (await unit.companion_of(JobQueue, host_uuid)).jobs:
                networks = await unit.companion_of(HostNetworks, host_uuid)
                networks.applied(l2.uuid, l2.physical_interface, job.uuid)
