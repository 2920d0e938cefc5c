"""A unit without a log, and the resources that tests of networks begin with."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.network.addresses import Address, add_range, allocate
from zcloud.domain.network.addressing import L3Addressing
from zcloud.domain.network.ip_pool import IpPool
from zcloud.domain.network.ip_range import IpRange
from zcloud.domain.network.l2_no_vlan_network import L2NoVlanNetwork
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.context import Context
from zcloud.kernel.ids import SeededIds
from zcloud.kernel.unit import Unit

T = TypeVar("T")
ZONE, OTHER_ZONE = "a" * 32, "b" * 32


def run(body: Coroutine[Any, Any, T]) -> T:
    """Nothing here waits for anything."""
    return asyncio.run(body)


class EmptyCloud:
    """Nothing was ever written."""

    def __init__(self) -> None:
        self.ids = SeededIds(7)
        self.ports: dict[str, Any] = {}
        self.older = False

    async def load(self, stream: str, companion: Any = None) -> None:
        return None

    def is_fresh(self, stream: str) -> None:
        """Everything is."""


class Ground:
    """One unit; what is made stays in it."""

    def __init__(self) -> None:
        cloud: Any = EmptyCloud()
        self.unit = Unit(cloud, Context(), 1)

    def cluster(self, name: str = "rack", zone_uuid: str = ZONE) -> Cluster:
        made = run(self.unit.new(Cluster))
        made.create(name=name, zone_uuid=zone_uuid)
        return made

    def l2(self, device: str = "eth1", zone_uuid: str = ZONE) -> L2NoVlanNetwork:
        made = run(self.unit.new(L2NoVlanNetwork))
        made.create(name=device, zone_uuid=zone_uuid, physical_interface=device)
        return made

    def l3(self, dhcp_server_ip: str = "", **given: Any) -> L3Network:
        made = run(self.unit.new(L3Network))
        made.create(name="flat", zone_uuid=ZONE, l2_network_uuid="c" * 32, **given)
        if dhcp_server_ip:
            run(self.unit.companion(L3Addressing, made)).choose_dhcp_server(dhcp_server_ip)
        return made

    def range(self, l3: L3Network, **given: str) -> IpRange:
        fields = {
            "start_ip": "10.0.0.10",
            "end_ip": "10.0.0.20",
            "netmask": "255.255.255.0",
            "gateway": "10.0.0.1",
            **given,
        }
        made = run(self.unit.new(IpRange))
        made.create(name="range", l3_network_uuid=l3.uuid, zone_uuid=ZONE, **fields)
        run(add_range(self.unit, l3, made))
        return made

    def allocate(self, l3: L3Network, nic_uuid: str, wanted: str = "") -> Address:
        return run(allocate(self.unit, l3, nic_uuid, wanted))

    def addressing(self, l3: L3Network) -> L3Addressing:
        return run(self.unit.companion(L3Addressing, l3))

    def pool(self, ip_range: IpRange) -> IpPool:
        return run(self.unit.companion(IpPool, ip_range))


def events(aggregate: Any) -> list[str]:
    """Names of what was decided."""
    return [type(event).__name__ for event in aggregate.pending]
