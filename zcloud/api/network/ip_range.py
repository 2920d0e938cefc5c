"""What is not standard about IP ranges: they go with their L3 network's others (L3-02, L3-03)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.network.addresses import add_range
from zcloud.domain.network.ip_range import IpRange, of_cidr
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.unit import Unit


@command("AddIpRange")
async def add_ip_range(call: Call, unit: Unit, request: Any) -> IpRange:
    """From an address to another."""
    return await _add(unit, request, arguments(call, request))


@command("AddIpRangeByNetworkCidr")
async def add_ip_range_by_network_cidr(call: Call, unit: Unit, request: Any) -> IpRange:
    """A whole network, but for its own, its broadcast and its gateway's address."""
    given = arguments(call, request)
    bounds = of_cidr(given.pop("network_cidr"), given.pop("gateway", ""))
    return await _add(unit, request, given | bounds)


async def _add(unit: Unit, request: Any, given: dict[str, Any]) -> IpRange:
    l3 = await unit.get(L3Network, request.l3_network_uuid)
    made = await unit.new(IpRange, request.resource_uuid)
    made.create(zone_uuid=l3.zone_uuid, **given)
    await add_range(unit, l3, made)
    return made
