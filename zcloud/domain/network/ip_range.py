"""IP range: addresses that an L3 network gives to NICs (L3-02, L3-03). Who has which lies in its pool."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from zcloud.kernel.errors import invalid
from zcloud.kernel.resource import Creation, Resource

# Smaller subnets have no room for a gateway, a DHCP server and a guest.
LONGEST_PREFIX = 30
UNUSABLE = (
    (IPv4Network("0.0.0.0/8"), '"this network"'),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("224.0.0.0/4"), "class D (multicast)"),
    (IPv4Network("240.0.0.0/4"), "class E (reserved)"),
)


class IpRange(Resource, kind="ip_range"):
    """From start_ip to end_ip, both included; network, broadcast and gateway address are not among them."""

    parents = {"l3_network": "l3_network_uuid"}  # noqa: RUF012
    delete_workflow = "delete_resource"

    l3_network_uuid: str = ""
    start_ip: str = ""
    end_ip: str = ""
    netmask: str = ""
    gateway: str = ""
    network_cidr: str = ""

    class Created(Creation):
        """Addresses were given to an L3 network."""

        zone_uuid: str
        l3_network_uuid: str
        start_ip: str
        end_ip: str
        netmask: str
        gateway: str
        network_cidr: str

    @property
    def total_ips(self) -> int:
        """Addresses in the range."""
        return int(IPv4Address(self.end_ip)) - int(IPv4Address(self.start_ip)) + 1 if self.start_ip else 0

    def create(
        self,
        *,
        name: str,
        l3_network_uuid: str,
        zone_uuid: str,
        start_ip: str,
        end_ip: str,
        netmask: str,
        gateway: str,
        description: str = "",
    ) -> None:
        """Wrong whatever the network holds is refused here; what depends on its other ranges, by L3Addressing."""
        network = _network(start_ip, netmask)
        start, end, way = IPv4Address(start_ip), IPv4Address(end_ip), IPv4Address(gateway)
        if start > end:
            raise invalid("end_ip", end_ip, f"must not be below start_ip, {start_ip}")
        if end not in network:
            raise invalid("end_ip", end_ip, f"must be in the subnet of start_ip, {network}")
        if way not in network:
            raise invalid("gateway", gateway, f"must be in the subnet of the range, {network}")
        must_be_unicast("start_ip", start, end)
        for field, address in (("start_ip", start), ("end_ip", end), ("gateway", way)):
            if address in (network.network_address, network.broadcast_address):
                raise invalid(field, str(address), f"is the network or broadcast address of {network}; take another")
        if start <= way <= end:
            raise invalid("gateway", gateway, f"must be outside the range, {start_ip} to {end_ip}")
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                l3_network_uuid=l3_network_uuid,
                start_ip=start_ip,
                end_ip=end_ip,
                netmask=netmask,
                gateway=gateway,
                network_cidr=str(network),
            )
        )


def of_cidr(network_cidr: str, gateway: str = "") -> dict[str, str]:
    """start_ip, end_ip, netmask and gateway of a whole network. gateway: its first (default) or last address."""
    network = IPv4Network(network_cidr)
    must_be_unicast("network_cidr", network.network_address, network.broadcast_address, network_cidr)
    if network.prefixlen > LONGEST_PREFIX:
        raise invalid("network_cidr", network_cidr, f"must have a prefix length of at most {LONGEST_PREFIX}")
    first, last = network.network_address + 1, network.broadcast_address - 1
    if gateway not in ("", str(first), str(last)):
        raise invalid("gateway", gateway, f"must be the first or last address of {network}, {first} or {last}")
    at_end = gateway == str(last)
    return {
        "start_ip": str(first if at_end else first + 1),
        "end_ip": str(last - 1 if at_end else last),
        "netmask": str(network.netmask),
        "gateway": str(last if at_end else first),
    }


def must_be_unicast(field: str, first: IPv4Address, last: IPv4Address, shown: str = "") -> None:
    """Refuses addresses that no guest can have; first and last: both ends of what is asked for."""
    for network, what in UNUSABLE:
        if first <= network.broadcast_address and last >= network.network_address:
            raise invalid(field, shown or str(first), f"{what} addresses, {network}, can't be given to guests")


def _network(start_ip: str, netmask: str) -> IPv4Network:
    network = IPv4Network(f"{start_ip}/{netmask}", strict=False)
    if not 1 <= network.prefixlen <= LONGEST_PREFIX:
        raise invalid("netmask", netmask, "must be between 128.0.0.0 and 255.255.255.252")
    return network
