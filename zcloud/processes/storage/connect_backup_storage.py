"""Connects a backup storage: measures it and pins its key; one that cannot be connected when added is not kept."""

from __future__ import annotations

from zcloud.domain.ssh_access import SshAccess
from zcloud.domain.storage.backup_storage import (
    BackupStorage,
    BackupStorageCapacity,
    BackupStorageLeftovers,
    BackupStorageStatus,
)
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Step, Task, Workflow, submit
from zcloud.processes.storage.image_store import connect_store_task, end_owed, owed_ended, owed_export
from zcloud.processes.storage.reach import delete_task, reach
from zcloud.v1.backup_storage_task_pb2 import (
    ConnectImageStoreResult,
    ConnectSftpBackupStorageResult,
    ConnectSftpBackupStorageTask,
    DeleteExportedImageResult,
)
from zcloud.v1.image_task_pb2 import DeleteImageResult


def connect_task(unit: Unit, storage: BackupStorage) -> Task:
    """Also what a ping does: it changes nothing on a storage that is connected."""
    if isinstance(storage, ImageStoreBackupStorage):
        return Task(NODE, connect_store_task(unit, storage))
    return Task(NODE, ConnectSftpBackupStorageTask(target=reach(unit, storage), url=storage.url))


async def connect(unit: Unit, job: Job) -> Task:
    """The node's own agent looks at the server."""
    return connect_task(unit, await unit.get(BackupStorage, job.resource_uuid))


async def connected(unit: Unit, job: Job, result: ConnectSftpBackupStorageResult | ConnectImageStoreResult) -> None:
    """The server's key is pinned and its size known."""
    storage = await unit.get(BackupStorage, job.resource_uuid)
    assert isinstance(storage, SshAccess)
    storage.pin(result.host_key)
    (await unit.companion(BackupStorageStatus, storage)).found_at(tuple(result.addresses))
    if isinstance(storage, ImageStoreBackupStorage) and isinstance(result, ConnectImageStoreResult):
        storage.pin_certificate(result.certificate)
    capacity = await unit.companion(BackupStorageCapacity, storage)
    capacity.measured(result.total_capacity, result.available_capacity)


ADD = "add_backup_storage"


class AddBackupStorage(Workflow, name=ADD, version=1, title="add backup storage"):
    """It is kept when its first connect has succeeded (BS-15)."""

    table = (Step("connect", connect, connected, timeout=120),)

    async def begin(self, unit: Unit, job: Job) -> None:
        storage = await unit.get(BackupStorage, job.resource_uuid)
        (await unit.companion(BackupStorageStatus, storage)).connecting()

    async def succeed(self, unit: Unit, job: Job) -> None:
        storage = await unit.get(BackupStorage, job.resource_uuid)
        (await unit.companion(BackupStorageStatus, storage)).connected()
        if isinstance(storage, ImageStoreBackupStorage) and storage.import_images and job.workflow == ADD:
            await submit(unit, "recover_images", storage, {"image_uuids": []}, parent=job.uuid)

    async def fail(self, unit: Unit, job: Job) -> None:
        storage = await unit.get(BackupStorage, job.resource_uuid)
        unit.because(storage, f"it could not be added: {job.error}")
        storage.remove()


async def sweep(unit: Unit, job: Job) -> Task | None:
    """The next that was left while the storage was away; no image comes or goes as long as this goes on."""
    storage = await unit.get(BackupStorage, job.resource_uuid)
    left = (await unit.companion(BackupStorageLeftovers, storage)).leftovers
    if not left:
        return None
    return end_owed(unit, storage, left[0]) if owed_export(left[0]) else delete_task(unit, storage, left[0])


async def swept(unit: Unit, job: Job, result: DeleteImageResult | DeleteExportedImageResult) -> None:
    """One less."""
    storage = await unit.get(BackupStorage, job.resource_uuid)
    leftovers = await unit.companion(BackupStorageLeftovers, storage)
    left = leftovers.leftovers[0]
    if owed_export(left):
        await owed_ended(unit, storage, left)
    leftovers.clear(left)


class ReconnectOnce(AddBackupStorage, name="reconnect_backup_storage", version=1, title="reconnect backup storage"):
    """As it was before anything could be left behind."""

    async def fail(self, unit: Unit, job: Job) -> None:
        storage = await unit.get(BackupStorage, job.resource_uuid)
        (await unit.companion(BackupStorageStatus, storage)).disconnected(job.error)


class Reconnect(AddBackupStorage, name="reconnect_backup_storage", version=2, title="reconnect backup storage"):
    """At a node's start, on request, when its access was changed, and when it answers again (BS-10)."""

    table = (*AddBackupStorage.table, Step("sweep", sweep, swept, timeout=300, repeat=True))

    async def fail(self, unit: Unit, job: Job) -> None:
        storage = await unit.get(BackupStorage, job.resource_uuid)
        (await unit.companion(BackupStorageStatus, storage)).disconnected(job.error)
