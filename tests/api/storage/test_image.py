"""Images over a socket, from a real web server and from files, onto a real sshd (IMG-01..10, BS-07, BS-16, BS-31)."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import qcow2, raw
from tests.api.storage.world import add_storage, allow, image_of, in_cloud, storage_of
from tests.support.cloud import Api, ApiError, until
from tests.support.web import Web, running_web
from zcloud.domain.operations.global_config import setting_bytes
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.image_copies import room_on
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit
from zcloud.processes.storage.image_expunge import ImageExpunge

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return qcow2(tmp_path_factory.mktemp("images") / "disk.qcow2").read_bytes()


def files(store: Path) -> list[str]:
    """Images in a storage's directory."""
    return sorted(str(p.relative_to(store)) for p in store.glob("images/*/*") if p.is_file() and p.suffix != ".json")


async def add(api: Api, url: str, **changes: Any) -> Any:
    return await api.call("AddImage", **{"name": "image", "url": url, "format": "qcow2", **changes})


def test_life(tmp_path: Path, sshd: PrivateSshd, disk: bytes) -> None:
    store = tmp_path / "store"
    digest = hashlib.sha256(disk).hexdigest()

    async def body(api: Api, web: Web) -> None:
        storage = await add_storage(api, sshd, store)
        await allow(api)
        url = web.serve("/disk.qcow2", disk)
        added = await add(api, url, sha256=digest, platform="windows_virtio", boot_mode="uefi")
        coming = added.inventory
        assert coming.status == coming.STATUS_DOWNLOADING
        assert [c.backup_storage_uuid for c in coming.copies] == [storage.uuid]
        with pytest.raises(ApiError) as early:
            await api.call("DeleteImage", uuid=coming.uuid)
        assert (early.value.code, early.value.reason) == ("FAILED_PRECONDITION", "WRONG_STATUS")
        job = await api.wait(added.job_uuid)
        assert job.state == job.STATE_SUCCEEDED, job

        image = await image_of(api, coming.uuid)
        assert image.status == image.STATUS_READY
        assert image.version == coming.version == 1  # what the job reports is no change of a caller
        assert (image.size, image.actual_size, image.sha256) == (8 << 20, len(disk), digest)
        assert image.platform == image.PLATFORM_WINDOWS_VIRTIO
        assert image.boot_mode == image.BOOT_MODE_UEFI
        assert image.media_type == image.MEDIA_TYPE_ROOT_VOLUME_TEMPLATE
        assert image.copies[0].status == image.STATUS_READY
        assert files(store) == [f"images/{image.uuid}/{image.uuid}.qcow2"]
        assert image.copies[0].install_path == f"{store}/images/{image.uuid}/{image.uuid}.qcow2"
        taken = await storage_of(api, storage.uuid)
        assert taken.available_capacity == taken.total_capacity - image.actual_size

        await api.call("UpdateImage", uuid=image.uuid, name="renamed", platform="linux", boot_mode="legacy")
        assert (await image_of(api, image.uuid)).boot_mode == image.BOOT_MODE_LEGACY
        await api.call("ChangeImageState", uuid=image.uuid, state_event="disable")
        changed = await image_of(api, image.uuid)
        assert (changed.name, changed.platform, changed.state) == ("renamed", 1, changed.STATE_DISABLED)
        found = (await api.call("QueryImage", filter="status = Ready AND platform = Linux")).inventories
        assert [i.uuid for i in found] == [image.uuid]

        with pytest.raises(ApiError) as early:
            await api.call("ExpungeImage", uuid=image.uuid)
        assert early.value.reason == "WRONG_STATUS"
        with pytest.raises(ApiError) as early:
            await api.call("RecoverImage", uuid=image.uuid)
        assert early.value.reason == "WRONG_STATUS"
        await api.call("DeleteImage", uuid=image.uuid)
        deleted = await image_of(api, image.uuid)
        assert deleted.status == deleted.copies[0].status == deleted.STATUS_DELETED
        assert files(store)
        await api.call("RecoverImage", uuid=image.uuid)
        recovered = await image_of(api, image.uuid)
        assert recovered.status == recovered.copies[0].status == recovered.STATUS_READY

        await api.call("DeleteImage", uuid=image.uuid)
        await api.call("ChangeBackupStorageState", uuid=storage.uuid, state_event="disable")
        with pytest.raises(ApiError) as disabled:
            await api.call("ExpungeImage", uuid=image.uuid)
        assert (disabled.value.code, disabled.value.reason) == ("FAILED_PRECONDITION", "WRONG_STATE")
        await api.call("ChangeBackupStorageState", uuid=storage.uuid, state_event="enable")
        await api.done("ExpungeImage", uuid=image.uuid)
        with pytest.raises(ApiError) as gone:
            await image_of(api, image.uuid)
        assert gone.value.code == "NOT_FOUND"
        assert files(store) == []
        free = await storage_of(api, storage.uuid)
        assert free.available_capacity == free.total_capacity

    with running_web() as web:
        in_cloud(tmp_path, lambda api: body(api, web))


def test_from_a_file_and_on_the_storage_with_the_most_room(tmp_path: Path, sshd: PrivateSshd) -> None:
    source = raw(tmp_path / "disk.raw")

    async def body(api: Api) -> None:
        with pytest.raises(ApiError) as none:
            await add(api, f"file://{source}", format="raw")
        assert (none.value.code, none.value.reason) == ("FAILED_PRECONDITION", "NO_STORAGE_AVAILABLE")
        first = await add_storage(api, sshd, tmp_path / "one", "one")
        second = await add_storage(api, sshd, tmp_path / "two", "two")
        # files lead nowhere unless an operator says where they may
        refused = await api.wait((await add(api, f"file://{source}", format="raw")).job_uuid)
        assert refused.state == refused.STATE_FAILED
        assert refused.error
        await allow(api, paths=str(tmp_path))
        await api.call("ChangeBackupStorageState", uuid=first.uuid, state_event="disable")
        made = (await api.done("AddImage", name="i", url=f"file://{source}", format="raw")).inventory
        assert [c.backup_storage_uuid for c in made.copies] == [second.uuid]
        # the other is asked for by name, and cannot
        with pytest.raises(ApiError) as disabled:
            await add(api, f"file://{source}", format="raw", backup_storage_uuid=first.uuid)
        assert disabled.value.reason == "WRONG_STATE"
        await api.call("ChangeBackupStorageState", uuid=first.uuid, state_event="enable")
        # the one that must leave more free has less room
        fields = {"category": "backupStorage", "name": "reservedCapacity", "value": "9G"}
        await api.call("UpdateResourceConfig", resource_uuid=second.uuid, **fields)
        again = (await api.done("AddImage", name="j", url=f"file://{source}", format="raw")).inventory
        assert [c.backup_storage_uuid for c in again.copies] == [first.uuid]
        await api.call("UpdateGlobalConfig", category="backupStorage", name="reservedCapacity", value="9000T")
        await api.call("UpdateResourceConfig", resource_uuid=second.uuid, **{**fields, "value": "9000T"})
        with pytest.raises(ApiError) as full:
            await add(api, f"file://{source}", format="raw")
        assert (full.value.code, full.value.reason) == ("RESOURCE_EXHAUSTED", "NO_STORAGE_AVAILABLE")
        with pytest.raises(ApiError) as full:
            await add(api, f"file://{source}", format="raw", backup_storage_uuid=first.uuid)
        assert full.value.code == "RESOURCE_EXHAUSTED"

        # with its storage goes an image whose only copy is there
        await api.done("DeleteBackupStorage", uuid=second.uuid)
        assert files(tmp_path / "two") == []
        assert [i.name for i in (await api.call("QueryImage")).inventories] == ["j"]

    in_cloud(tmp_path, body)


async def leave_room(api: Api, storage_uuid: str, size: int) -> None:
    """So many bytes and no more may come to the storage, by way of the reserve."""
    unit = Unit(api.node.cloud, Context(), 0)
    storage = await unit.get(BackupStorage, storage_uuid)
    reserved = await setting_bytes(unit, "backupStorage", "reservedCapacity")
    value = str(await room_on(unit, storage) + reserved - size)
    await api.call("UpdateGlobalConfig", category="backupStorage", name="reservedCapacity", value=value)


def test_nothing_is_kept_of_an_image_that_fails(tmp_path: Path, sshd: PrivateSshd, disk: bytes) -> None:
    store = tmp_path / "store"
    uuid = "b" * 32

    async def body(api: Api, web: Web) -> None:
        storage = await add_storage(api, sshd, store)
        good = web.serve("/disk.qcow2", disk)
        # the address is one of this machine's own, which is refused until an operator allows it
        refused = await api.wait((await add(api, good, resource_uuid=uuid)).job_uuid)
        assert refused.state == refused.STATE_FAILED
        assert "127.0.0.1" in refused.error
        await allow(api)
        bad = {
            "missing": {"url": web.url("/none")},
            "not an image": {"url": web.serve("/text", b"<html>" * 400_000)},
            "another format": {"url": good, "format": "iso"},
            "another digest": {"url": good, "sha256": "0" * 64},
            "cut short": {"url": web.serve("/short", disk[:-9], len(disk))},
        }
        for why, fields in bad.items():
            job = await api.wait((await add(api, **{"resource_uuid": uuid, **fields})).job_uuid)
            assert job.state == job.STATE_FAILED, why
            assert job.error, why
            with pytest.raises(ApiError) as gone:
                await image_of(api, uuid)
            assert gone.value.code == "NOT_FOUND", why
            assert files(store) == [], why
        free = await storage_of(api, storage.uuid)
        assert free.available_capacity == free.total_capacity
        await leave_room(api, storage.uuid, len(disk) // 2)
        big = await api.wait((await add(api, good, resource_uuid=uuid)).job_uuid)
        assert big.state == big.STATE_FAILED
        assert "room" in big.error
        assert files(store) == []
        await api.call("UpdateGlobalConfig", category="backupStorage", name="reservedCapacity")
        # the uuid is free, and what was wrong once is right now
        made = await api.done("AddImage", name="good", url=good, format="qcow2", resource_uuid=uuid)
        assert made.inventory.uuid == uuid
        image = await image_of(api, uuid)
        assert image.status == image.STATUS_READY

    with running_web() as web:
        in_cloud(tmp_path, lambda api: body(api, web))


def test_wrong_whatever_the_state(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        good = {"name": "i", "url": "http://example.org/i", "format": "qcow2"}
        before = api.node.cloud.log.head
        for changes, field in (
            ({"url": "gopher://example.org/i"}, "url"),
            ({"url": "ftp://user:secret@example.org/"}, "url"),
            ({"url": "ftp://user:secret@example.org/i", "username": "other"}, "username"),
            ({"url": "sftp://user:secret@exa mple.org/i"}, "url"),
            ({"password": "secret"}, "username"),
            ({"url": "file:///a", "username": "u", "password": "secret"}, "username"),
            ({"url": "ftp://example.org/i", "username": "u", "private_key": "secret"}, "private_key"),
            ({"url": "upload://i"}, "size"),
            ({"size": 1}, "size"),
            ({"url": "file://host/i"}, "url"),
            ({"url": "file:///a/../b"}, "url"),
            ({"url": "http://"}, "url"),
            ({"url": "http://user:secret@example.org/i"}, "url"),
            ({"url": "http://example.org:99999/i"}, "url"),
            ({"format": 0}, "format"),
            ({"sha256": "A" * 64}, "sha256"),
            ({"sha256": "a" * 63}, "sha256"),
            ({"media_type": "iso"}, "media_type"),
            ({"format": "iso", "media_type": "root_volume_template"}, "media_type"),
        ):
            with pytest.raises(ApiError) as invalid:
                await api.call("AddImage", **{**good, **changes})
            assert (invalid.value.code, invalid.value.fields) == ("INVALID_ARGUMENT", [field]), changes
            assert "secret" not in invalid.value.told
        with pytest.raises(ApiError) as absent:
            await api.call("AddImage", **good, backup_storage_uuid="c" * 32)
        assert absent.value.code == "NOT_FOUND"
        assert api.node.cloud.log.head == before

    in_cloud(tmp_path, body)


def test_owners_and_the_recycle_bin(tmp_path: Path, sshd: PrivateSshd) -> None:
    source = raw(tmp_path / "disk.raw")

    async def body(api: Api) -> None:
        storage = await add_storage(api, sshd, tmp_path / "store")
        await allow(api, paths=str(tmp_path))
        mine_uuid, mine = await api.account("mine")
        yours_uuid, yours = await api.account("yours")
        fields = {"name": "i", "url": f"file://{source}", "format": "raw"}
        uuid = (await mine.done("AddImage", **fields)).inventory.uuid
        with pytest.raises(ApiError) as hidden:
            await image_of(yours, uuid)
        assert hidden.value.code == "NOT_FOUND"
        with pytest.raises(ApiError) as hidden:  # storages are the admin's; a normal account names none
            await mine.call("AddImage", **fields, backup_storage_uuid=storage.uuid)
        assert hidden.value.code == "NOT_FOUND"
        await mine.call("ShareResource", resource_uuids=[uuid], account_uuids=[yours_uuid])
        assert (await image_of(yours, uuid)).uuid == uuid
        with pytest.raises(ApiError) as shared:
            await yours.call("DeleteImage", uuid=uuid)
        assert shared.value.code == "PERMISSION_DENIED"

        watch = next(w for w in api.node.watches if isinstance(w, ImageExpunge))
        await mine.call("DeleteImage", uuid=uuid)
        await watch.look()
        assert (await image_of(mine, uuid)).uuid == uuid  # its time has not come
        await api.call("UpdateGlobalConfig", category="image", name="deletionPolicy", value="Never")
        await api.call("UpdateGlobalConfig", category="image", name="expungePeriod", value="1")
        await asyncio.sleep(1.1)
        await watch.look()
        assert (await image_of(mine, uuid)).uuid == uuid
        await api.call("UpdateGlobalConfig", category="image", name="deletionPolicy")
        await watch.look()

        async def gone(uuid: str) -> bool:
            return not (await api.call("QueryImage", filter=f"uuid = {uuid}")).inventories

        await until(lambda: gone(uuid))
        assert files(tmp_path / "store") == []

        # Direct: no recycle bin
        await api.call("UpdateGlobalConfig", category="image", name="deletionPolicy", value="Direct")
        uuid = (await mine.done("AddImage", **fields)).inventory.uuid
        await mine.done("DeleteImage", uuid=uuid)
        assert await gone(uuid)

        # with its account goes an image, and the room that it took is free
        uuid = (await mine.done("AddImage", **fields)).inventory.uuid
        assert files(tmp_path / "store")
        await api.done("DeleteAccount", uuid=mine_uuid)
        assert await gone(uuid)
        assert files(tmp_path / "store") == []
        free = await storage_of(api, storage.uuid)
        assert free.available_capacity == free.total_capacity

    in_cloud(tmp_path, body)
