"""Which backup storages go with which primary storages: refused by the pair's names (PS-15, PS-16)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.domain.storage.ground import GIB, ZONE, Ground, run
from zcloud.domain.storage import allocation
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.image_copies import choose, usable_copy
from zcloud.domain.storage.local_primary_storage import LocalPrimaryStorage
from zcloud.domain.storage.nfs_primary_storage import NfsPrimaryStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.shared_mount_point_primary_storage import SharedMountPointPrimaryStorage
from zcloud.domain.storage.storage_matrix import MATRIX, mismatch, must_match
from zcloud.kernel.aggregate import kinds
from zcloud.kernel.errors import Code, Reason, Refused

SFTP, STORE, CEPH = "SftpBackupStorage", "ImageStoreBackupStorage", "CephBackupStorage"
# As the reference has it (PS-15).
GO_TOGETHER = {
    ("LocalStorage", STORE), ("LocalStorage", SFTP), ("NFS", STORE), ("NFS", SFTP),
    ("SharedMountPoint", STORE), ("SharedMountPoint", SFTP), ("Ceph", STORE), ("Ceph", CEPH), ("SharedBlock", STORE),
}  # fmt: skip


def of_type(storage: Any, type_: str) -> Any:
    """As a storage of another kind would be."""
    storage.type = type_
    return storage


@pytest.mark.parametrize("backup", [SFTP, STORE, CEPH])
@pytest.mark.parametrize("primary", ["LocalStorage", "NFS", "SharedMountPoint", "Ceph", "SharedBlock", "Unheard"])
def test_the_matrix_of_the_reference(primary: str, backup: str) -> None:
    ground = Ground()
    ps, bs = of_type(ground.primary(), primary), of_type(ground.backup(), backup)
    if (primary, backup) in GO_TOGETHER:
        must_match(ps, bs)
        return
    with pytest.raises(Refused) as refused:
        must_match(ps, bs)
    assert (refused.value.code, refused.value.reason) == (Code.FAILED_PRECONDITION, Reason.NOT_SUPPORTED)
    assert f'"local" ({primary}) and backup storage "sftp" ({backup})' in refused.value.message


def test_every_kind_that_there_is_has_a_place_in_it() -> None:
    """A kind that is added and forgotten here could not be used with anything."""
    for base, known in (
        (PrimaryStorage, set(MATRIX)),
        (BackupStorage, {backup for row in MATRIX.values() for backup in row}),
    ):
        made: list[Any] = [cls for cls in kinds().values() if issubclass(cls, base) and cls is not base]
        types = {f.default for cls in made for f in msgspec.structs.fields(cls.Created) if f.name == "type"}
        assert len(types) == len(made) > 0
        assert types <= known
    assert {LocalPrimaryStorage, NfsPrimaryStorage, SharedMountPointPrimaryStorage} <= set(kinds().values())


def test_an_image_is_fetched_from_what_goes_with_the_storage_only() -> None:
    ground = Ground()
    host = ground.host()
    primary = of_type(ground.primary(host), "SharedBlock")
    sftp, store = ground.backup("files"), of_type(ground.backup("pieces"), STORE)
    only = ground.image(sftp)
    assert run(usable_copy(ground.unit, only, ZONE))[0] is sftp
    with pytest.raises(Refused) as refused:
        run(usable_copy(ground.unit, only, ZONE, primary))
    assert mismatch(primary, sftp) in refused.value.message
    both = ground.image(sftp, store)
    assert run(usable_copy(ground.unit, both, ZONE, primary))[0] is store
    run(allocation.keep_cached(ground.unit, primary, host, only, "/path", GIB))
    assert run(allocation.lies_in_cache(ground.unit, primary, host, only))
    assert not run(allocation.lies_in_cache(ground.unit, primary, host, both))


def test_an_image_is_made_on_what_goes_with_the_storage_only() -> None:
    ground = Ground()
    primary = of_type(ground.primary(), "SharedBlock")
    sftp, store = ground.backup("files", total=200 * GIB), of_type(ground.backup("pieces"), STORE)
    uuids = [sftp.uuid, store.uuid]
    assert run(choose(ground.unit, uuids)) is sftp
    assert run(choose(ground.unit, uuids, source=primary)) is store
    with pytest.raises(Refused) as refused:
        run(choose(ground.unit, uuids[:1], source=primary))
    assert mismatch(primary, sftp) in refused.value.message
