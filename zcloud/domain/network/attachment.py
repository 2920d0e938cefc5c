"""L2 networks and clusters: what changes on both sides when one is attached or detached (CLU-05, CLU-14)."""

from __future__ import annotations

from zcloud.domain.infrastructure.cluster import Cluster, ClusterAttachments
from zcloud.domain.network.cluster_bridges import ClusterBridges
from zcloud.domain.network.l2_network import L2Attachments, L2Network
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit


async def begin_attach(unit: Unit, l2: L2Network, cluster: Cluster) -> None:
    """Hosts get the bridge from now on; VMs do not use it yet. Same zone, once, and a device of its own."""
    if cluster.zone_uuid != l2.zone_uuid:
        raise precondition(
            Reason.NOT_SAME_ZONE,
            f'cluster "{cluster.name}" is in zone {cluster.zone_uuid}, L2 network "{l2.name}" in zone {l2.zone_uuid}; '
            "attach it to a cluster of its own zone",
            zone_uuid=l2.zone_uuid,
        )
    (await unit.companion(L2Attachments, l2)).begin(cluster.uuid)
    (await unit.companion(ClusterBridges, cluster)).take(l2.uuid, l2.physical_interface)


async def attached(unit: Unit, l2: L2Network, cluster: Cluster) -> None:
    """VMs of the cluster may use it."""
    (await unit.companion(L2Attachments, l2)).attached(cluster.uuid)
    (await unit.companion(ClusterAttachments, cluster)).attach_l2_network(l2.uuid)


async def begin_detach(unit: Unit, l2: L2Network, cluster: Cluster) -> None:
    """No VM may begin to use it, and hosts that connect do not get it."""
    attachments = await unit.companion(L2Attachments, l2)
    attachments.must_hold(cluster.uuid)
    attachments.detached(cluster.uuid)
    (await unit.companion(ClusterAttachments, cluster)).detach_l2_network(l2.uuid)
    (await unit.companion(ClusterBridges, cluster)).begin_detach(l2.uuid)


async def abort_detach(unit: Unit, l2: L2Network, cluster: Cluster) -> None:
    """It is as it was before."""
    (await unit.companion(ClusterBridges, cluster)).abort_detach(l2.uuid)
    await attached(unit, l2, cluster)


async def detached(unit: Unit, l2: L2Network, cluster: Cluster, reason: str = "") -> None:
    """The cluster knows nothing of the network any more, and its device is free."""
    (await unit.companion(L2Attachments, l2)).detached(cluster.uuid, reason)
    (await unit.companion(ClusterAttachments, cluster)).detach_l2_network(l2.uuid)
    (await unit.companion(ClusterBridges, cluster)).free(l2.uuid)
