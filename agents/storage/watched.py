"""What a host tells of its storages by itself: their networks, and what is mounted for them (PS-05, PS-07)."""

from __future__ import annotations

import asyncio

from agents.storage.mounts import StorageMounts
from agents.storage.network import StorageNetworks
from zcloud.v1.agent_pb2 import HostInventory


class StorageWatch:
    """Of one agent."""

    def __init__(self) -> None:
        self.networks = StorageNetworks()
        self.mounts = StorageMounts()

    def add_to(self, inventory: HostInventory) -> HostInventory:
        """All that is known."""
        return self.mounts.add_to(self.networks.add_to(inventory))

    def forget(self, storage_uuid: str) -> None:
        """The host has nothing to do with it any more."""
        self.networks.forget(storage_uuid)
        self.mounts.forget(storage_uuid)

    async def report(self, changes: asyncio.Queue[HostInventory]) -> None:
        """Look again and again."""
        await asyncio.gather(self.networks.report(changes), self.mounts.report(changes))
