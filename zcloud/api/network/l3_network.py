"""What is not standard about L3 networks: the zone is that of the L2 network, DNS servers are added one by one."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.network.addressing import L3Addressing
from zcloud.domain.network.ip_range import must_be_unicast
from zcloud.domain.network.l2_network import L2Network
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.unit import Unit


@command("CreateL3Network")
async def create(call: Call, unit: Unit, request: Any) -> L3Network:
    """dhcp_server_ip may be chosen now; the ranges that are added later must go with it (L3-15)."""
    l2 = await unit.get(L2Network, request.l2_network_uuid)
    l3 = await unit.new(L3Network, request.resource_uuid)
    given = arguments(call, request)
    dhcp_server_ip = given.pop("dhcp_server_ip", "")
    l3.create(zone_uuid=l2.zone_uuid, **given)
    if dhcp_server_ip:
        address = IPv4Address(dhcp_server_ip)
        must_be_unicast("dhcp_server_ip", address, address)
        (await unit.companion(L3Addressing, l3)).choose_dhcp_server(dhcp_server_ip)
    return l3


@command("AddDnsToL3Network")
async def add_dns(call: Call, unit: Unit, request: Any) -> L3Network:
    """Guests hear of it when they start the next time."""
    l3 = await unit.get(L3Network, request.l3_network_uuid)
    l3.add_dns(request.dns)
    return l3


@command("RemoveDnsFromL3Network")
async def remove_dns(call: Call, unit: Unit, request: Any) -> L3Network:
    """Guests forget it when they start the next time."""
    l3 = await unit.get(L3Network, request.l3_network_uuid)
    l3.remove_dns(request.dns)
    return l3
