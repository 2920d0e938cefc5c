"""How tasks are told to reach a backup storage, whatever its kind, and what is removed there."""

from __future__ import annotations

from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Task
from zcloud.processes.infrastructure.ssh import ssh_target
from zcloud.v1.host_task_pb2 import SshTarget
from zcloud.v1.image_task_pb2 import DeleteImageTask


def reach(unit: Unit, storage: BackupStorage) -> SshTarget:
    """The target with its secrets in clear; for task arguments only."""
    assert isinstance(storage, SftpBackupStorage), f"no way to backup storages of type {storage.type} is known"
    return ssh_target(unit, storage.hostname, storage)


def delete_task(unit: Unit, storage: BackupStorage, path: str) -> Task:
    """Remove an image's file; one that is not there is removed already."""
    return Task(NODE, DeleteImageTask(target=reach(unit, storage), storage_url=storage.url, install_path=path))
