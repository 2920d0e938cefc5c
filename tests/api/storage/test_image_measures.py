"""Hashes and sizes of images where they lie, and where the next could lie (IMG-01, BS-10, BS-31)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import raw
from tests.api.compute.ground import Ground, on_ground, refused
from tests.api.storage.world import add_storage, allow, bits, image_of, in_cloud, storage_of
from tests.support.cloud import Api
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit


def spoil(path: str) -> None:
    with Path(path).open("ab") as file:
        file.write(b"more")


def lose(path: str) -> None:
    Path(path).unlink()


@pytest.mark.real
def test_what_lies_there_is_read(tmp_path: Path, sshd: PrivateSshd) -> None:
    source = raw(tmp_path / "disk.raw")

    async def body(api: Api) -> None:
        await allow(api, networks="", paths=str(tmp_path))
        storage = (await add_storage(api, sshd, tmp_path / "store")).uuid
        uuid = (await api.done("AddImage", name="i", url=f"file://{source}", format="raw")).inventory.uuid
        order = {"uuid": uuid, "backup_storage_uuid": storage}
        await api.done("CalculateImageHash", **order)
        await api.done("CalculateImageHash", **order, algorithm="md5")
        image = await image_of(api, uuid)
        (copy,) = image.copies
        assert copy.sha256 == image.sha256 == hashlib.sha256(bits(copy)).hexdigest()
        assert copy.md5 == hashlib.md5(bits(copy)).hexdigest()

        # somebody has been at it
        spoil(copy.install_path)
        await api.done("CalculateImageHash", **order)
        await api.done("SyncImageSize", uuid=uuid)
        changed = await image_of(api, uuid)
        assert changed.actual_size == image.actual_size + 4
        assert changed.copies[0].sha256 == hashlib.sha256(bits(copy)).hexdigest() != image.sha256 == changed.sha256
        booked = await storage_of(api, storage)
        assert booked.total_capacity - booked.available_capacity == changed.actual_size

        lose(copy.install_path)
        job = await api.wait((await api.call("CalculateImageHash", **order)).job_uuid)
        assert job.state == job.STATE_FAILED
        assert copy.install_path in job.error
        await api.done("ReconnectSftpBackupStorage", uuid=storage)
        await api.call("ChangeBackupStorageState", uuid=storage, state_event="disable")
        for rpc, fields in (("CalculateImageHash", order), ("SyncImageSize", {"uuid": uuid})):
            error = await refused(api.call(rpc, **fields))
            assert error.code == "FAILED_PRECONDITION", rpc
            assert "Disabled" in error.message, rpc

    in_cloud(tmp_path, body)


def test_where_an_image_could_lie(tmp_path: Path) -> None:
    """Those that fall are named with the reason."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        candidates = "GetCandidateBackupStorageForCreatingImage"
        found = await here.api.call(candidates, volume_uuid=vm.root_volume_uuid)
        assert not found.candidates
        assert [one.uuid for one in found.refused] == [here.backup]
        assert "is full" in found.refused[0].reason

        async def measured(unit: Unit) -> None:
            storage = await unit.get(BackupStorage, here.backup)
            (await unit.companion(BackupStorageCapacity, storage)).measured(1 << 40, 1 << 40)

        await here.api.node.cloud.decide(Context(actor=SYSTEM), measured)
        found = await here.api.call(candidates, volume_uuid=vm.root_volume_uuid)
        assert not found.refused
        (one,) = found.candidates
        assert (one.uuid, one.name, one.type, one.reason) == (here.backup, "sftp", "SftpBackupStorage", "")
        assert one.room == (1 << 40) - (1 << 30)
        await here.api.call("ChangeBackupStorageState", uuid=here.backup, state_event="disable")
        snapshot = (await here.api.done("CreateVolumeSnapshot", volume_uuid=vm.root_volume_uuid, name="s")).inventory
        found = await here.api.call(candidates, volume_snapshot_uuid=snapshot.uuid)
        assert "Disabled" in found.refused[0].reason

        for fields in ({}, {"volume_uuid": vm.root_volume_uuid, "volume_snapshot_uuid": snapshot.uuid}):
            assert (await refused(here.api.call(candidates, **fields))).code == "INVALID_ARGUMENT"
        _, other = await here.api.account("other")
        error = await refused(other.call(candidates, volume_uuid=vm.root_volume_uuid))
        assert error.code in ("NOT_FOUND", "PERMISSION_DENIED")

    on_ground(tmp_path, body)
