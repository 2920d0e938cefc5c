"""What hosts see of a primary storage's network: facts of pairs of host and storage, to judge hosts by (PS-05)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event

# So many of the others a host asks; by its place among them each is asked by as many.
PEERS = 8


class StorageNetworkHost(msgspec.Struct, frozen=True, omit_defaults=True):
    """address: of the host; empty where it has none there. silent_addresses: of those that did not answer it.

    peers: addresses of other hosts that it was told to ask.
    """

    host_uuid: str
    address: str = ""
    reachable: bool = False
    reason: str = ""
    silent_addresses: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()


class PrimaryStorageNetwork(Companion, of="primary_storage", role="network"):
    """One entry for each host that has looked."""

    storage_network_hosts: tuple[StorageNetworkHost, ...] = ()

    class Seen(Event):
        """A host tells something else than before."""

        host_uuid: str
        address: str = ""
        reachable: bool = False
        reason: str = ""
        silent_addresses: tuple[str, ...] = ()
        peers: tuple[str, ...] = ()

        def apply(self, aggregate: Any) -> None:
            told = StorageNetworkHost(
                self.host_uuid,
                self.address,
                self.reachable,
                self.reason,
                tuple(self.silent_addresses),
                tuple(self.peers),
            )
            aggregate.storage_network_hosts = (*_others(aggregate, self.host_uuid), told)

    class Forgotten(Event):
        """The host is no longer one of the storage's, or the storage has another network."""

        host_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.storage_network_hosts = _others(aggregate, self.host_uuid)

    def of_host(self, host_uuid: str) -> StorageNetworkHost | None:
        """What it told last."""
        return next((one for one in self.storage_network_hosts if one.host_uuid == host_uuid), None)

    def peers_of(self, host_uuid: str) -> tuple[str, ...]:
        """Addresses of those that it asks: the next in the order of all."""
        others = sorted((one.host_uuid, one.address) for one in self.storage_network_hosts if one.address)
        after = [address for uuid, address in others if uuid > host_uuid]
        before = [address for uuid, address in others if uuid < host_uuid]
        return tuple((after + before)[:PEERS])

    def uninformed(self) -> tuple[str, ...]:
        """Hosts that ask others than they should by now: some came, went, or have other addresses."""
        found = sorted(self.storage_network_hosts, key=lambda one: one.host_uuid)
        there = [number for number, one in enumerate(found) if one.address]
        ring = [found[number].address for number in there]
        late = []
        for number, one in enumerate(found):
            place = bisect_right(there, number)
            others = len(ring) - bool(one.address)
            peers = tuple(ring[(place + step) % len(ring)] for step in range(min(PEERS, others)))
            if peers != one.peers:
                late.append(one.host_uuid)
        return tuple(late)

    def seen(self, told: StorageNetworkHost) -> None:
        """The same again is no event."""
        if self.of_host(told.host_uuid) != told:
            self.trigger(self.Seen(**{name: getattr(told, name) for name in told.__struct_fields__}))

    def forget(self, host_uuids: Iterable[str]) -> None:
        """Of whom nothing was told there is nothing to forget."""
        for uuid in host_uuids:
            if self.of_host(uuid) is not None:
                self.trigger(self.Forgotten(host_uuid=uuid))


def _others(aggregate: Any, host_uuid: str) -> tuple[StorageNetworkHost, ...]:
    return tuple(one for one in aggregate.storage_network_hosts if one.host_uuid != host_uuid)
