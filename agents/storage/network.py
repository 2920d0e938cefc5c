"""Storage networks: the host's addresses, who answers there, and the way of an export over them (PS-05)."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterable

from agents.runtime.ping import answers
from agents.storage.addresses import addresses
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.primary_storage_task_pb2 import StorageNetwork, StorageNetworkSeen

log = logging.getLogger(__name__)
LOOK_SECONDS = 20.0


def server_in(server: str, cidr: str) -> str:
    """Of the addresses that a server's name has, the first in the network; empty when there is none."""
    try:
        found = socket.getaddrinfo(server, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return ""
    return first_in(cidr, sorted({str(one[4][0]) for one in found}, key=ipaddress.ip_address))


def first_in(cidr: str, found: Iterable[str]) -> str:
    """The first of the addresses that lies in the network; empty when none does."""
    network = ipaddress.ip_network(cidr)
    return next((address for address in found if ipaddress.ip_address(address) in network), "")


async def over(url: str, network: StorageNetwork) -> str:
    """The export by its server's address in the network, where it has one there."""
    if not network.cidr:
        return url
    server, _, path = url.partition(":")
    address = await asyncio.to_thread(server_in, server, network.cidr)
    return f"{address}:{path}" if address else url


class StorageNetworks:
    """Those that this host was told of since it started: it is told of all whenever it connects."""

    def __init__(self) -> None:
        # By storage: the network, and the server of an export.
        self._watched: dict[str, tuple[StorageNetwork, str]] = {}
        self._told: dict[str, StorageNetworkSeen] = {}

    async def watch(self, storage_uuid: str, network: StorageNetwork, server: str = "") -> StorageNetworkSeen:
        """From now on; what there is now. Without a network: no more."""
        if not network.cidr:
            self.forget(storage_uuid)
            return StorageNetworkSeen()
        self._watched[storage_uuid] = (network, server)
        self._told[storage_uuid] = await self._look(storage_uuid)
        return self._told[storage_uuid]

    def forget(self, storage_uuid: str) -> None:
        """No more."""
        self._watched.pop(storage_uuid, None)
        self._told.pop(storage_uuid, None)

    async def news(self) -> list[StorageNetworkSeen]:
        """What is other than it was told last."""
        found = []
        for uuid in tuple(self._watched):
            if uuid not in self._watched:
                continue  # since the one before it was looked at
            seen = await self._look(uuid)
            if uuid in self._watched and seen != self._told.get(uuid):
                self._told[uuid] = seen
                found.append(seen)
        return found

    def add_to(self, inventory: HostInventory) -> HostInventory:
        """What was told last, once more: a report may have been lost."""
        inventory.storage_networks.extend(self._told.values())
        return inventory

    async def report(self, changes: asyncio.Queue[HostInventory]) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                news = await self.news()
            except OSError as error:
                log.warning("storage networks cannot be looked at: %s", error)
                continue
            except Exception:  # else nobody would be told of any network any more
                log.exception("storage networks cannot be looked at")
                continue
            if news:
                changes.put_nowait(HostInventory(storage_networks=news))

    async def _look(self, storage_uuid: str) -> StorageNetworkSeen:
        network, server = self._watched[storage_uuid]
        own, error = await asyncio.to_thread(addresses), ""
        source = first_in(network.cidr, own)
        asked = [peer for peer in network.peers if peer not in own]
        if server:
            address = await asyncio.to_thread(server_in, server, network.cidr)
            error = (
                "" if address else f"the server {server} has no address in {network.cidr}, and is reached without it"
            )
            asked += [address] if address else []
        # Who has no address there would ask by another way.
        asked = asked if source else []
        there = await asyncio.gather(*(answers(address, source) for address in asked))
        return StorageNetworkSeen(
            primary_storage_uuid=storage_uuid,
            cidr=network.cidr,
            addresses=own,
            answering=[address for address, good in zip(asked, there, strict=True) if good],
            silent=[address for address, good in zip(asked, there, strict=True) if not good],
            server_error=error,
            peers=network.peers,
        )
