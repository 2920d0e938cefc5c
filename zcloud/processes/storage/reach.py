"""How tasks are told to reach a backup storage, whatever its kind, and what is removed there."""

from __future__ import annotations

from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import Vault
from zcloud.kernel.workflow import NODE, Task
from zcloud.processes.infrastructure.ssh import ssh_target
from zcloud.v1.host_task_pb2 import SshTarget
from zcloud.v1.image_task_pb2 import DeleteImageTask, ImageStoreAccess


def is_store(storage: BackupStorage) -> bool:
    """It keeps images in pieces, and has a server of its own."""
    return isinstance(storage, ImageStoreBackupStorage)


def reach(unit: Unit, storage: BackupStorage, address: str = "") -> SshTarget:
    """The target with its secrets in clear; for task arguments only. address: in place of its hostname."""
    known = isinstance(storage, SftpBackupStorage | ImageStoreBackupStorage)
    assert known, f"no way to backup storages of type {storage.type} is known"
    return ssh_target(unit, address or storage.hostname, storage)


def store_access(unit: Unit, storage: ImageStoreBackupStorage, address: str = "") -> ImageStoreAccess:
    """Its server, with the token in clear; for task arguments only. address: in place of its hostname."""
    vault: Vault = unit.port("vault")
    token = vault.open(storage.token)
    return ImageStoreAccess(
        url=storage.url_at(address or storage.hostname), token=token, certificate=storage.certificate
    )


def delete_task(unit: Unit, storage: BackupStorage, path: str) -> Task:
    """Remove an image's file; one that is not there is removed already."""
    target, store = reach(unit, storage), is_store(storage)
    return Task(NODE, DeleteImageTask(target=target, storage_url=storage.url, install_path=path, image_store=store))
