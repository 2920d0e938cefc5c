"""The networks by which hosts reach primary storages: looked at when a host prepares one, and ever after (PS-05)."""

from __future__ import annotations

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.storage_network import address_in
from zcloud.domain.storage.storage_network_hosts import PrimaryStorageNetwork, StorageNetworkHost
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.unit import Unit
from zcloud.processes.infrastructure.host_watch import ON_INVENTORY
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.primary_storage_task_pb2 import StorageNetwork, StorageNetworkSeen


async def network_of(unit: Unit, storage: PrimaryStorage, host_uuid: str) -> StorageNetwork | None:
    """What the host is to look at; None where there is no network to look at."""
    if not storage.storage_network_cidr:
        return None
    peers = (await unit.companion(PrimaryStorageNetwork, storage)).peers_of(host_uuid)
    return StorageNetwork(cidr=storage.storage_network_cidr, peers=peers)


async def take_network(unit: Unit, storage: PrimaryStorage, host: Host, seen: StorageNetworkSeen) -> None:
    """Book what the host has seen; what it says of another network is out of date."""
    books = await unit.companion(PrimaryStorageNetwork, storage)
    if not storage.storage_network_cidr:
        books.forget((host.uuid,))
    elif seen.cidr == storage.storage_network_cidr:
        books.seen(_judged(storage.storage_network_cidr, host, seen))


def _judged(cidr: str, host: Host, seen: StorageNetworkSeen) -> StorageNetworkHost:
    address, silent, peers = address_in(cidr, seen.addresses), tuple(seen.silent), tuple(seen.peers)
    if not address:
        text = f"this host has no address in {cidr}; it has {', '.join(seen.addresses) or 'told none'}"
        return StorageNetworkHost(host.uuid, reason=text, silent_addresses=silent, peers=peers)
    # Where there is nobody to ask there is nothing to complain of.
    reachable = bool(seen.answering) or not silent
    whys = [seen.server_error, f"no answer from {', '.join(silent)}" if silent else ""]
    reason = "; ".join(why for why in whys if why)
    return StorageNetworkHost(host.uuid, address, reachable, reason, silent, peers)


async def host_seen(cloud: Cloud, host: Host, inventory: HostInventory) -> None:
    """What its agent found out by itself since."""
    if not inventory.storage_networks:
        return

    async def take(unit: Unit) -> None:
        it = await unit.find(Host, host.uuid)
        for seen in inventory.storage_networks:
            storage = await unit.find(PrimaryStorage, seen.primary_storage_uuid)
            if it is not None and storage is not None and it.cluster_uuid in storage.attached_cluster_uuids:
                await take_network(unit, storage, it, seen)

    await cloud.decide(cloud.by_itself("storage_network", "the host has looked at it"), take)


ON_INVENTORY.append(host_seen)
