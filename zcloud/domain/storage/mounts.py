"""What hosts find of the storages that they have mounted: facts of pairs of host and storage (PS-07, PS-08)."""

from __future__ import annotations

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity, PrimaryStorageStatus
from zcloud.domain.storage.status import Status
from zcloud.kernel.unit import Unit


async def cut_off(unit: Unit, storage: PrimaryStorage, host: Host, reason: str) -> None:
    """The host cannot use the storage now: nothing is started or made there by it. Others may have it still."""
    books = await unit.companion(HostStorage, host)
    if storage.uuid not in books.shares:
        return
    books.cut_off(storage.uuid, reason)
    capacity = await unit.companion(PrimaryStorageCapacity, storage)
    capacity.lost(host.uuid, reason)
    status = await unit.companion(PrimaryStorageStatus, storage)
    if status.status is Status.CONNECTED and not capacity.reachable:
        status.disconnected(f'no host can use it; host "{host.name}": {reason}')


async def unprepared(unit: Unit, storage: PrimaryStorage, host: Host, reason: str) -> None:
    """The host connects, and cannot use the storage: that costs the storage its status there, not the host its own."""
    (await unit.companion(HostStorage, host)).cut_off(storage.uuid, reason)
    capacity = await unit.companion(PrimaryStorageCapacity, storage)
    capacity.unusable(host.uuid, reason)
    if not capacity.reachable:
        status = await unit.companion(PrimaryStorageStatus, storage)
        status.disconnected(f'no host can use it; host "{host.name}": {reason}')


async def usable(unit: Unit, storage: PrimaryStorage, host: Host, total: int, available: int) -> None:
    """It can again; where it could all along there is nothing to say. total, available: bytes that it has there now."""
    share = (await unit.companion(HostStorage, host)).shares.get(storage.uuid)
    if share is not None and share.unusable:
        await allocation.measured(unit, storage, host, total, available)
