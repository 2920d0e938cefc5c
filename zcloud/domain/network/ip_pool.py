"""Who has which address of an IP range: a stream beside the range, so that it never makes a caller's version wrong."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

from zcloud.domain.network.l3_network import Strategy
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Code, Reason, Refused, precondition
from zcloud.kernel.event import Event

# Claims are kept in blocks of so many addresses: a fold replaces one block, not all claims of a large range.
BLOCK = 256


class IpPool(Companion, of="ip_range", role="pool"):
    """Claims by address and by holder. A holder is a NIC, or the L3 network itself for its DHCP server."""

    start: int = 0
    end: int = -1
    claimed: int = 0
    # The address that was given out last; AscDelayRecycle goes on from there.
    last: int = -1
    by_address: dict[int, dict[int, str]] = {}  # noqa: RUF012 - replaced by folds
    by_holder: dict[str, dict[str, int]] = {}  # noqa: RUF012

    class Opened(Event):
        """The range's addresses are there to be claimed."""

        start_ip: str
        end_ip: str

        def apply(self, aggregate: Any) -> None:
            aggregate.start, aggregate.end = int(IPv4Address(self.start_ip)), int(IPv4Address(self.end_ip))
            aggregate.claimed, aggregate.last = 0, -1
            aggregate.by_address, aggregate.by_holder = {}, {}

    class Claimed(Event):
        """A holder has this address until it gives it back."""

        ip: str
        holder: str

        def apply(self, aggregate: Any) -> None:
            address = int(IPv4Address(self.ip))
            block, shelf = address // BLOCK, self.holder[:3]
            held, holders = aggregate.by_address, aggregate.by_holder
            aggregate.by_address = {**held, block: {**held.get(block, {}), address: self.holder}}
            aggregate.by_holder = {**holders, shelf: {**holders.get(shelf, {}), self.holder: address}}
            aggregate.claimed, aggregate.last = aggregate.claimed + 1, address

    class Released(Event):
        """The address is free again."""

        ip: str
        holder: str

        def apply(self, aggregate: Any) -> None:
            address = int(IPv4Address(self.ip))
            aggregate.by_address = _dropped(aggregate.by_address, address // BLOCK, address)
            aggregate.by_holder = _dropped(aggregate.by_holder, self.holder[:3], self.holder)
            aggregate.claimed -= 1

    @property
    def available_ips(self) -> int:
        """Addresses that nobody has."""
        return self.end - self.start + 1 - self.claimed

    def open(self, start_ip: str, end_ip: str) -> None:
        """Once, when the range is made; a range made anew under an old uuid begins empty."""
        self.trigger(self.Opened(start_ip=start_ip, end_ip=end_ip))

    def holder_of(self, ip: str) -> str:
        """Who has the address; empty when nobody does."""
        address = int(IPv4Address(ip))
        return self.by_address.get(address // BLOCK, {}).get(address, "")

    def address_of(self, holder: str) -> str:
        """What a holder has here; empty for nothing."""
        address = self.by_holder.get(holder[:3], {}).get(holder)
        return "" if address is None else str(IPv4Address(address))

    def holders(self) -> list[str]:
        """Everyone who has an address."""
        return [holder for shelf in self.by_holder.values() for holder in shelf]

    def covers(self, ip: str) -> bool:
        """The address lies in the range."""
        return self.start <= int(IPv4Address(ip)) <= self.end

    def claim(self, holder: str, ip: str) -> str:
        """This very address; to claim it again is no event."""
        other = self.holder_of(ip)
        if other == holder:
            return ip
        if other:
            raise precondition(
                Reason.ADDRESS_TAKEN, f"the address {ip} is in use by {other}; name another, or none", ip=ip
            )
        self.trigger(self.Claimed(ip=ip, holder=holder))
        return ip

    def claim_any(self, holder: str, strategy: Strategy, chance: int = 0) -> str:
        """A free address; chance: a number from the injected source, for Random. Raises RESOURCE_EXHAUSTED."""
        if self.available_ips <= 0:
            raise Refused(
                Code.RESOURCE_EXHAUSTED, Reason.NO_ADDRESS_AVAILABLE, f"IP range {self.uuid} has no address left"
            )
        size = self.end - self.start + 1
        first = {
            Strategy.RANDOM: chance % size,
            Strategy.FIRST_AVAILABLE: 0,
            Strategy.ASC_DELAY_RECYCLE: (self.last + 1 - self.start) % size if self.last >= self.start else 0,
        }[strategy]
        return self.claim(holder, str(IPv4Address(next(self._free(self.start + first)))))

    def claim_last(self, holder: str) -> str:
        """The highest free address: statically chosen ones are mostly low."""
        free = (a for a in range(self.end, self.start - 1, -1) if a not in self.by_address.get(a // BLOCK, {}))
        address = next(free, None)
        if address is None:
            return self.claim_any(holder, Strategy.FIRST_AVAILABLE)
        return self.claim(holder, str(IPv4Address(address)))

    def release(self, holder: str) -> None:
        """Give back what the holder has; nothing is no event."""
        ip = self.address_of(holder)
        if ip:
            self.trigger(self.Released(ip=ip, holder=holder))

    def _free(self, first: int) -> Iterator[int]:
        """Free addresses from one on, and round; blocks that are full are passed over at once."""
        address = first
        while True:
            block = self.by_address.get(address // BLOCK, {})
            if len(block) >= BLOCK:
                address += BLOCK - address % BLOCK
            elif address in block:
                address += 1
            else:
                yield address
                address += 1
            if address > self.end:
                address = self.start


def _dropped(shelves: dict[Any, dict[Any, Any]], shelf: Any, key: Any) -> dict[Any, dict[Any, Any]]:
    left = {k: v for k, v in shelves.get(shelf, {}).items() if k != key}
    if left:
        return {**shelves, shelf: left}
    return {k: v for k, v in shelves.items() if k != shelf}
