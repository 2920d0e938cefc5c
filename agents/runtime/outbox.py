"""What waits to be sent to the node: bounded, the newest of each kind."""

from __future__ import annotations

import asyncio

from zcloud.v1.agent_pb2 import ConnectRequest, HostInventory

LIMIT = 1000


class Outbox:
    """Takes everything at once and drops what does not matter.

    Closed until the node has welcomed the agent: reports are in the journal and are sent again after the
    welcome, the rest is out of date by then. When it is full, reports and progress are dropped; the session
    sends dropped reports again later.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._open = False
        self._messages: dict[tuple[str, str], ConnectRequest] = {}
        self._filled = asyncio.Event()

    def open(self) -> None:
        """From now on messages are kept."""
        self._open = True

    def close(self) -> None:
        """Forget what waits and take nothing more."""
        self._open = False
        self._messages.clear()
        self._filled.clear()

    def put(self, message: ConnectRequest) -> None:
        """Send this soon. A newer message of one kind and task takes the place of the older."""
        if not self._open:
            return
        kind = message.WhichOneof("message") or ""
        key = (kind, getattr(getattr(message, kind), "task_uuid", ""))
        waiting = self._messages.get(key)
        if waiting is None and kind in ("report", "progress") and len(self._messages) >= self._limit:
            return
        if waiting is not None and kind == "inventory":
            message = ConnectRequest(inventory=merged(waiting.inventory, message.inventory))
        self._messages[key] = message
        self._filled.set()

    async def get(self) -> ConnectRequest:
        """The oldest message, when there is one."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        return self._messages.pop(next(iter(self._messages)))


def merged(older: HostInventory, newer: HostInventory) -> HostInventory:
    """Two inventories as one: what the newer says, and of the older what the newer is silent about."""
    if newer.complete:
        return newer
    said = {vm.vm_instance_uuid for vm in newer.vms}
    whole = HostInventory(complete=older.complete)
    whole.vms.extend(vm for vm in older.vms if vm.vm_instance_uuid not in said)
    whole.vms.extend(newer.vms)
    networks = {one.primary_storage_uuid: one for one in (*older.storage_networks, *newer.storage_networks)}
    whole.storage_networks.extend(networks.values())
    mounts = {one.primary_storage_uuid: one for one in (*older.storage_mounts, *newer.storage_mounts)}
    whole.storage_mounts.extend(mounts.values())
    measured = newer if newer.local_storage_total else older
    whole.local_storage_total = measured.local_storage_total
    whole.local_storage_available = measured.local_storage_available
    return whole
