"""Storages that would lie in each other's directories: what one deletes the other would lose (BS-16, PS-07, CLU-13)."""

from __future__ import annotations

from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.nfs_primary_storage import NfsPrimaryStorage
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.errors import Reason, precondition

OnServer = SftpBackupStorage | ImageStoreBackupStorage


def overlap(one: str, other: str) -> bool:
    """Whether two directories of one machine are the same, or one lies in the other."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def must_be_apart(storage: OnServer, other: OnServer) -> None:
    """Images have the same path in both: to delete a copy in the one would be to lose it in the other.

    Servers are told apart by name and port, as the operator gave them; clones of a machine may show the same key.
    """
    if storage.uuid == other.uuid or not overlap(storage.url, other.url):
        return
    if (storage.hostname.lower(), storage.ssh_port) == (other.hostname.lower(), other.ssh_port):
        text = f'backup storage "{other.name}" has {other.url} on {other.hostname}: the two would mix'
        raise precondition(Reason.OVERLAP, text, backup_storage_uuid=other.uuid)


def must_be_another_export(storage: NfsPrimaryStorage, other: NfsPrimaryStorage) -> None:
    """Cached images have the same path in both: to clean up the one would take them from below volumes of the other."""
    (one, _, path), (two, _, its_path) = storage.url.partition(":"), other.url.partition(":")
    if storage.uuid != other.uuid and (one.lower(), path) == (two.lower(), its_path):
        text = f'primary storage "{other.name}" has {other.url}: the two would mix'
        raise precondition(Reason.OVERLAP, text, primary_storage_uuid=other.uuid)
