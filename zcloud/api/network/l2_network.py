"""What is not standard about L2 networks: jobs attach them to clusters and detach them (CLU-05)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.network.l2_network import L2Network
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.network.bridges import connected_hosts


@command("AttachL2NetworkToCluster")
async def attach(call: Call, unit: Unit, request: Any) -> L2Network:
    """VMs may use it when every connected host has the bridge."""
    l2 = await unit.get(L2Network, request.l2_network_uuid)
    cluster = await unit.get(Cluster, request.cluster_uuid)
    args = {"cluster_uuid": cluster.uuid, "host_uuids": await connected_hosts(unit, cluster.uuid)}
    await submit(unit, "attach_l2_network", l2, args)
    return l2


@command("DetachL2NetworkFromCluster")
async def detach(call: Call, unit: Unit, request: Any) -> L2Network:
    """Refused while VMs with NICs on it run in the cluster."""
    l2 = await unit.get(L2Network, request.l2_network_uuid)
    cluster = await unit.get(Cluster, request.cluster_uuid)
    args = {
        "cluster_uuid": cluster.uuid,
        "host_uuids": await connected_hosts(unit, cluster.uuid),
        "l3_network_uuids": await unit.port("views").where("l3_network", l2_network_uuid=l2.uuid),
    }
    await submit(unit, "detach_l2_network", l2, args)
    return l2
