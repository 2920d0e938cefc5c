"""Addresses of NICs: allotted and given back in the same append as what needs them (L3-12)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from zcloud.domain.network.addressing import L3Addressing
from zcloud.domain.network.ip_pool import IpPool
from zcloud.domain.network.ip_range import IpRange
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.errors import Code, Reason, Refused, invalid
from zcloud.kernel.unit import Unit


@dataclass(frozen=True)
class Address:
    """What a NIC is given."""

    ip: str
    netmask: str
    gateway: str
    ip_range_uuid: str


def mac_of(nic_uuid: str) -> str:
    """Locally administered, the same always: a guest that is made again keeps its device names."""
    digits = hashlib.sha256(nic_uuid.encode()).hexdigest()
    return ":".join(["fa", *(digits[i : i + 2] for i in range(0, 10, 2))])


async def allocate(unit: Unit, l3: L3Network, nic_uuid: str, wanted: str = "") -> Address:
    """An address for a NIC, the wanted one if one is named; a NIC that has one here keeps it, or moves to the wanted.

    Raises RESOURCE_EXHAUSTED (NO_ADDRESS_AVAILABLE), FAILED_PRECONDITION (ADDRESS_TAKEN), INVALID_ARGUMENT (outside
    of every range). Reads nothing but what it decides on, so that many may be allotted at a time.
    """
    addressing = await unit.companion(L3Addressing, l3)
    if not addressing.spans:
        raise _exhausted(l3, "it has no IP range; add one")
    pools = [(span, await unit.companion_of(IpPool, span.ip_range_uuid)) for span in addressing.spans]
    kept = next((pool for _, pool in pools if pool.address_of(nic_uuid)), None)
    if wanted:
        pool = next((pool for span, pool in pools if span.covers(wanted)), None)
        if pool is None:
            has = ", ".join(f"{span.start_ip} to {span.end_ip}" for span, _ in pools)
            raise invalid("ip", wanted, f'must be in a range of L3 network "{l3.name}": {has}')
        if kept is not None and kept.address_of(nic_uuid) != wanted:
            kept.release(nic_uuid)
        ip = pool.claim(nic_uuid, wanted)
    elif kept is not None:
        pool, ip = kept, kept.address_of(nic_uuid)
    else:
        pool = next((pool for _, pool in pools if pool.available_ips > 0), None)
        if pool is None:
            raise _exhausted(l3, "every address of its ranges is in use; add a range")
        ip = pool.claim_any(nic_uuid, l3.ip_allocator_strategy, int(unit.cloud.ids.new(), 16))
    _place_dhcp_server(l3, addressing, [pool for _, pool in pools])
    found = await unit.get(IpRange, pool.uuid)
    return Address(ip, found.netmask, found.gateway, found.uuid)


async def release(unit: Unit, ip_range_uuid: str, nic_uuid: str) -> None:
    """Give a NIC's address back; what is not held, or is gone with its range, needs nothing."""
    found = await unit.find(IpRange, ip_range_uuid)
    if found is not None:
        (await unit.companion(IpPool, found)).release(nic_uuid)


async def nics_in(unit: Unit, ip_range: IpRange) -> list[str]:
    """Uuids of the NICs that have an address of the range."""
    pool = await unit.companion(IpPool, ip_range)
    return [holder for holder in pool.holders() if holder != ip_range.l3_network_uuid]


async def add_range(unit: Unit, l3: L3Network, new: IpRange) -> None:
    """Let a range that was just made be used; the address that was chosen for the DHCP server is kept for it."""
    addressing = await unit.companion(L3Addressing, l3)
    addressing.add(new)
    pool = await unit.companion(IpPool, new)
    pool.open(new.start_ip, new.end_ip)
    if addressing.dhcp_server_ip and pool.covers(addressing.dhcp_server_ip):
        pool.claim(l3.uuid, addressing.dhcp_server_ip)


def _place_dhcp_server(l3: L3Network, addressing: L3Addressing, pools: list[IpPool]) -> None:
    """The network's first NIC needs the DHCP server, which then has its address for good."""
    if addressing.dhcp_server_ip:
        return
    pool = next((pool for pool in pools if pool.available_ips > 0), None)
    if pool is None:
        raise _exhausted(l3, "its DHCP server needs an address as well, and none is left; add a range")
    addressing.place_dhcp_server(pool.claim_last(l3.uuid))


def _exhausted(l3: L3Network, why: str) -> Refused:
    return Refused(
        Code.RESOURCE_EXHAUSTED,
        Reason.NO_ADDRESS_AVAILABLE,
        f'L3 network "{l3.name}" has no address to give: {why}',
        resource=("l3_network", l3.uuid),
    )
