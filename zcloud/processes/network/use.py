"""Who uses a network: NICs with its addresses, VMs that run on it. Looked up before something is taken away."""

from __future__ import annotations

from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.network.addresses import nics_in
from zcloud.domain.network.ip_range import IpRange
from zcloud.domain.network.l2_network import L2Network
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit


async def ranges_of(unit: Unit, l3: L3Network) -> list[IpRange]:
    """Its IP ranges."""
    uuids = await unit.port("views").where("ip_range", l3_network_uuid=l3.uuid)
    return [found for uuid in uuids if (found := await unit.find(IpRange, uuid)) is not None]


async def l3_networks_of(unit: Unit, l2: L2Network) -> list[L3Network]:
    """The L3 networks on it."""
    uuids = await unit.port("views").where("l3_network", l2_network_uuid=l2.uuid)
    return [found for uuid in uuids if (found := await unit.find(L3Network, uuid)) is not None]


async def must_be_unused(unit: Unit, what: str, ranges: list[IpRange]) -> None:
    """Refuses while NICs have addresses of these ranges."""
    for ip_range in ranges:
        nics = await nics_in(unit, ip_range)
        if nics:
            raise precondition(
                Reason.STILL_IN_USE,
                f'{what} is in use: {len(nics)} NICs have addresses of range "{ip_range.name}", for example NIC '
                f"{nics[0]}; delete their VMs first, or delete with delete_mode Enforcing, which detaches the NICs",
                ip_range_uuid=ip_range.uuid,
                nics=len(nics),
            )


async def must_not_run_in(unit: Unit, l2: L2Network, cluster: Cluster) -> None:
    """Refuses while a VM with a NIC on the network runs on a host of the cluster."""
    views = unit.port("views")
    on_it: set[str] = set()
    for l3 in await l3_networks_of(unit, l2):
        on_it |= set(await views.holding("vm_instance", "vm_nics", l3.uuid, column="l3_network_uuid"))
    if not on_it:
        return
    for host_uuid in await views.where("host", cluster_uuid=cluster.uuid):
        running = on_it & set(await views.where("vm_instance", host_uuid=host_uuid))
        if running:
            raise precondition(
                Reason.STILL_IN_USE,
                f'L2 network "{l2.name}" is in use by VM {min(running)} on host {host_uuid}; stop the VMs of cluster '
                f'"{cluster.name}" that have NICs on it first',
                vm_instance_uuid=min(running),
            )
