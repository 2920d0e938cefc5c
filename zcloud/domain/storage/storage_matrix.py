"""Which kinds of backup storage go with which of primary storage: images are brought between these only (PS-15)."""

from __future__ import annotations

from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.errors import Reason, precondition

IMAGE_STORE, SFTP, CEPH = "ImageStoreBackupStorage", "SftpBackupStorage", "CephBackupStorage"
MATRIX = {
    "LocalStorage": (IMAGE_STORE, SFTP),
    "NFS": (IMAGE_STORE, SFTP),
    "SharedMountPoint": (IMAGE_STORE, SFTP),
    "Ceph": (CEPH, IMAGE_STORE),
    "SharedBlock": (IMAGE_STORE,),
}


def mismatch(primary: PrimaryStorage, backup: BackupStorage) -> str:
    """Why no image is brought from one to the other; empty when it is."""
    good = MATRIX.get(primary.type, ())
    if backup.type in good:
        return ""
    pair = f'primary storage "{primary.name}" ({primary.type}) and backup storage "{backup.name}" ({backup.type})'
    return f"{pair} do not go together; {primary.type} goes with {' and '.join(good) or 'none'}"


def must_match(primary: PrimaryStorage, backup: BackupStorage) -> None:
    """Raises FAILED_PRECONDITION naming the pair."""
    text = mismatch(primary, backup)
    if text:
        facts = {"primary_storage_uuid": primary.uuid, "backup_storage_uuid": backup.uuid}
        raise precondition(Reason.NOT_SUPPORTED, text, **facts)
