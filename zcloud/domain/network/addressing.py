"""What follows from all ranges of an L3 network together: one subnet, one gateway, no overlap, one DHCP server."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec

from zcloud.domain.network.ip_range import IpRange
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event


class Span(msgspec.Struct, frozen=True):
    """One range of the network."""

    ip_range_uuid: str
    start_ip: str
    end_ip: str

    def covers(self, ip: str) -> bool:
        """The address lies in it."""
        return IPv4Address(self.start_ip) <= IPv4Address(ip) <= IPv4Address(self.end_ip)


class L3Addressing(Companion, of="l3_network", role="addressing"):
    """Written in the same append as the range, so that two ranges never get past each other."""

    spans: tuple[Span, ...] = ()
    network_cidr: str = ""
    gateway: str = ""
    dhcp_server_ip: str = ""
    # It was chosen at creation, and stays whatever ranges come and go.
    dhcp_chosen: bool = False

    class DhcpServerPlaced(Event):
        """The DHCP server has this address, on every host (L3-15)."""

        dhcp_server_ip: str
        dhcp_chosen: bool = False

    class DhcpServerDisplaced(Event):
        """The range that its address came from is gone, or the network is; another one is taken when it is needed."""

        def apply(self, aggregate: Any) -> None:
            aggregate.dhcp_server_ip, aggregate.dhcp_chosen = "", False

    class RangeAdded(Event):
        """Addresses from a range may be given to NICs."""

        span: Span
        network_cidr: str
        gateway: str

        def apply(self, aggregate: Any) -> None:
            aggregate.spans = (*aggregate.spans, self.span)
            aggregate.network_cidr, aggregate.gateway = self.network_cidr, self.gateway

    class RangeRemoved(Event):
        """They no longer may. With the last range subnet and gateway are open again."""

        ip_range_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.spans = tuple(s for s in aggregate.spans if s.ip_range_uuid != self.ip_range_uuid)
            if not aggregate.spans:
                aggregate.network_cidr = aggregate.gateway = ""

    @property
    def prefix_length(self) -> int:
        """Of the subnet."""
        return IPv4Network(self.network_cidr).prefixlen

    def choose_dhcp_server(self, ip: str) -> None:
        """At creation of the network."""
        self.trigger(self.DhcpServerPlaced(dhcp_server_ip=ip, dhcp_chosen=True))

    def place_dhcp_server(self, ip: str) -> None:
        """Taken from a range, once."""
        self.trigger(self.DhcpServerPlaced(dhcp_server_ip=ip))

    def add(self, new: IpRange) -> None:
        """Refuses a range that does not go with the network's others."""
        for span in self.spans:
            if IPv4Address(new.start_ip) <= IPv4Address(span.end_ip) and IPv4Address(span.start_ip) <= IPv4Address(
                new.end_ip
            ):
                raise precondition(
                    Reason.OVERLAP,
                    f"{new.start_ip} to {new.end_ip} overlaps {span.start_ip} to {span.end_ip}, which is range "
                    f"{span.ip_range_uuid} of the same L3 network",
                    ip_range_uuid=span.ip_range_uuid,
                )
        if self.spans and new.network_cidr != self.network_cidr:
            raise precondition(
                Reason.DIFFERENT_SUBNET,
                f"the L3 network's ranges are in {self.network_cidr}, not {new.network_cidr}; use another L3 network",
                network_cidr=self.network_cidr,
            )
        if self.spans and new.gateway != self.gateway:
            raise precondition(
                Reason.DIFFERENT_SUBNET,
                f"the L3 network's gateway is {self.gateway}, not {new.gateway}; an L3 network has one",
                gateway=self.gateway,
            )
        self._must_leave_dhcp_server(new)
        span = Span(new.uuid, new.start_ip, new.end_ip)
        self.trigger(self.RangeAdded(span=span, network_cidr=new.network_cidr, gateway=new.gateway))

    def remove(self, ip_range_uuid: str) -> None:
        """Its addresses are gone, the DHCP server's own too if it came from there."""
        gone = next((s for s in self.spans if s.ip_range_uuid == ip_range_uuid), None)
        if gone is None:
            return
        self.trigger(self.RangeRemoved(ip_range_uuid=ip_range_uuid))
        if self.dhcp_server_ip and not self.dhcp_chosen and gone.covers(self.dhcp_server_ip):
            self.trigger(self.DhcpServerDisplaced())

    def close(self) -> None:
        """The network is gone: one made anew under its uuid begins empty."""
        for span in self.spans:
            self.remove(span.ip_range_uuid)
        if self.dhcp_server_ip:
            self.trigger(self.DhcpServerDisplaced())

    def _must_leave_dhcp_server(self, new: IpRange) -> None:
        ip = self.dhcp_server_ip
        if not ip:
            return
        network = IPv4Network(new.network_cidr)
        if IPv4Address(ip) not in network:
            raise precondition(
                Reason.DIFFERENT_SUBNET,
                f"dhcp_server_ip of the L3 network is {ip}, which is not in {network}; add a range of its subnet",
                dhcp_server_ip=ip,
            )
        if ip in (new.gateway, str(network.network_address), str(network.broadcast_address)):
            raise precondition(
                Reason.ADDRESS_TAKEN,
                f"{ip} is dhcp_server_ip of the L3 network, and can't be gateway, network or broadcast address as well",
                dhcp_server_ip=ip,
            )
