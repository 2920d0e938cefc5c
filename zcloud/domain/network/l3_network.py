"""L3 network: addresses, gateway, DNS and services for the NICs on one L2 network (L3-01, L3-05)."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Creation, Switched, Unset

# A DHCP answer has room for a few; more are of no use to a guest.
MAX_DNS = 8


class Category(enum.Enum):
    """Public leads out, System is for management, Private is for VMs."""

    PUBLIC = "Public"
    SYSTEM = "System"
    PRIVATE = "Private"


class Strategy(enum.Enum):
    """In which order addresses are given out."""

    RANDOM = "Random"
    FIRST_AVAILABLE = "FirstAvailable"
    # Ascending, and what was given back comes round last.
    ASC_DELAY_RECYCLE = "AscDelayRecycle"


class L3Network(Switched, kind="l3_network"):
    """Its ranges and what follows from them lie beside it, in L3Addressing."""

    parents = {"l2_network": "l2_network_uuid"}  # noqa: RUF012
    delete_workflow = "delete_resource"

    l2_network_uuid: str = ""
    category: Category = Category.PRIVATE
    system: bool = False
    dns_domain: str = ""
    dns: tuple[str, ...] = ()
    ip_allocator_strategy: Strategy = Strategy.RANDOM

    class Created(Creation):
        """The network was described."""

        zone_uuid: str
        l2_network_uuid: str
        category: Category
        system: bool = False
        dns_domain: str = ""
        dns: tuple[str, ...] = ()
        ip_allocator_strategy: Strategy = Strategy.RANDOM

    class DnsDomainChanged(Event):
        """The domain that guests are told."""

        dns_domain: str | Unset = UNSET

    class DnsAdded(Event):
        """Guests are told one more DNS server."""

        dns: str

        def apply(self, aggregate: Any) -> None:
            aggregate.dns = (*aggregate.dns, self.dns)

    class DnsRemoved(Event):
        """Guests are told one less."""

        dns: str

        def apply(self, aggregate: Any) -> None:
            aggregate.dns = tuple(d for d in aggregate.dns if d != self.dns)

    def create(
        self,
        *,
        name: str,
        l2_network_uuid: str,
        zone_uuid: str,
        description: str = "",
        category: str = "Private",
        system: bool = False,
        dns_domain: str = "",
        dns: tuple[str, ...] = (),
        ip_allocator_strategy: str = "Random",
    ) -> None:
        """category, ip_allocator_strategy: in short form. zone_uuid: that of the L2 network."""
        if system and category != Category.SYSTEM.value:
            raise invalid("system", "true", f"only a network of category System may be one, not {category}")
        twice = sorted({d for d in dns if dns.count(d) > 1})
        if twice:
            raise invalid("dns", twice[0], "must be named once")
        known = [strategy.value for strategy in Strategy]
        if ip_allocator_strategy not in known:
            raise invalid("ip_allocator_strategy", ip_allocator_strategy, f"must be one of {', '.join(known)}")
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                l2_network_uuid=l2_network_uuid,
                category=Category(category),
                system=system,
                dns_domain=dns_domain,
                dns=dns,
                ip_allocator_strategy=Strategy(ip_allocator_strategy),
            )
        )

    def update(self, *, name: str | None = None, description: str | None = None, dns_domain: str | None = None) -> None:
        """Guests hear of another domain when their lease is renewed after the next start."""
        super().update(name=name, description=description)
        if dns_domain is not None and dns_domain != self.dns_domain:
            self.trigger(self.DnsDomainChanged(dns_domain=dns_domain))

    def add_dns(self, dns: str) -> None:
        """Each server once."""
        if dns in self.dns:
            raise precondition(Reason.ALREADY_ATTACHED, f'L3 network "{self.name}" has the DNS server {dns} already')
        if len(self.dns) >= MAX_DNS:
            raise precondition(
                Reason.NOT_SUPPORTED, f'L3 network "{self.name}" has {MAX_DNS} DNS servers; remove one first'
            )
        self.trigger(self.DnsAdded(dns=dns))

    def remove_dns(self, dns: str) -> None:
        """One that is there."""
        if dns not in self.dns:
            has = ", ".join(self.dns) or "none"
            raise precondition(Reason.NOT_ATTACHED, f'L3 network "{self.name}" has no DNS server {dns}; it has {has}')
        self.trigger(self.DnsRemoved(dns=dns))
