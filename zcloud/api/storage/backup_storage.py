"""What is not standard about backup storages: they are connected by jobs, and attached to zones."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.infrastructure.zone import Zone
from zcloud.domain.storage.apart import OnServer, must_be_apart
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.errors import invalid
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


@command("AddSftpBackupStorage")
async def add_sftp_backup_storage(call: Call, unit: Unit, request: Any) -> SftpBackupStorage:
    """Kept when its first connect succeeds (BS-15)."""
    storage = await unit.new(SftpBackupStorage, request.resource_uuid)
    storage.create(**arguments(call, request))
    await must_be_alone(unit, storage)
    await submit(unit, "add_backup_storage", storage)
    return storage


@command("UpdateSftpBackupStorage")
async def update_sftp_backup_storage(call: Call, unit: Unit, request: Any) -> SftpBackupStorage:
    """Another way to reach it is tried at once; what hosts have in common with it, they look at with each image."""
    storage = await unit.usable(SftpBackupStorage, request.uuid)
    given = arguments(call, request)
    named, path = given.pop("shared_primary_storage_uuid", ""), given.pop("shared_path", None)
    if named or path:
        uuid = named or storage.shared_primary_storage_uuid
        if not uuid:
            raise invalid("shared_primary_storage_uuid", uuid, "must name the primary storage on the same share")
        storage.change_share(await unit.usable(PrimaryStorage, uuid), storage.shared_path if path is None else path)
    elif path is not None:
        storage.change_share(None, "")
    if await changed(unit, storage, given):
        await submit(unit, "reconnect_backup_storage", storage)
    return storage


async def changed(unit: Unit, storage: OnServer, given: dict[str, Any]) -> bool:
    """Whether it is reached in another way from now on; where that leads to another server, nobody lies there yet."""
    before = (storage.hostname, storage.ssh_port)
    anew = storage.update(**given)
    if (storage.hostname, storage.ssh_port) != before:
        await must_be_alone(unit, storage)
    return anew


async def must_be_alone(unit: Unit, storage: OnServer) -> None:
    """No other backup storage has its directory, or one that lies in it or around it."""
    for uuid in await unit.port("views").where("backup_storage"):
        other = await unit.find(BackupStorage, uuid)
        if isinstance(other, OnServer):
            must_be_apart(storage, other)


@command("ReconnectSftpBackupStorage")
@command("ReconnectImageStoreBackupStorage")
@command("ReconnectBackupStorage")
async def reconnect_backup_storage(call: Call, unit: Unit, request: Any) -> BackupStorage:
    """Connects and measures it anew (BS-10)."""
    storage = await unit.usable(BackupStorage, request.uuid)
    await submit(unit, "reconnect_backup_storage", storage)
    return storage


@command("AttachBackupStorageToZone")
async def attach_backup_storage(call: Call, unit: Unit, request: Any) -> BackupStorage:
    """The zone may use its images (BS-18)."""
    storage = await unit.usable(BackupStorage, request.backup_storage_uuid)
    storage.attach((await unit.usable(Zone, request.zone_uuid)).uuid)
    return storage


@command("DetachBackupStorageFromZone")
async def detach_backup_storage(call: Call, unit: Unit, request: Any) -> BackupStorage:
    """It no longer may; what is cached there stays usable."""
    storage = await unit.get(BackupStorage, request.backup_storage_uuid)
    storage.detach(request.zone_uuid)
    return storage
