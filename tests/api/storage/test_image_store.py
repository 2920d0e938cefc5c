"""Image stores on a real server: in pieces, by HTTPS, from store to store, found again and cleaned (BS-23..26)."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import random
import urllib.parse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from agents.runtime.task import TaskError, Work
from agents.storage.image_cache import CacheImage, CacheLocks
from agents.storage.imagestore.client import trusting
from agents.storage.imagestore.operations import stop
from tests.api.compute.ground import refused
from tests.api.storage.world import access, allow, bits, image_of, storage_of
from tests.support.cloud import Api, running_node, until
from tests.support.ports import free_port
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageStatus
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.image_copies import drop_copy
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit
from zcloud.processes.storage.expunge_image import drop_all_copies
from zcloud.processes.storage.image_store_reclaim import ImageStoreReclaim
from zcloud.v1.backup_storage_task_pb2 import DeleteExportedImageTask
from zcloud.v1.image_task_pb2 import CacheImageTask, ImageStoreAccess

pytestmark = pytest.mark.real
MIB = 1 << 20
CHANCE = random.Random(2)
BASE = CHANCE.randbytes(MIB)
CHILD = BASE[:131072] + CHANCE.randbytes(65536) + BASE[131072 + 65536 :]


def on_node(tmp_path: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def main() -> None:
        (tmp_path / "base.raw").write_bytes(BASE)
        (tmp_path / "child.raw").write_bytes(CHILD)
        async with running_node(tmp_path / "data") as api:
            await allow(api, paths=str(tmp_path))
            await body(api)

    try:
        asyncio.run(main())
    finally:
        for directory in tmp_path.glob("store*"):
            stop({"url": str(directory)})


async def add_store(api: Api, sshd: PrivateSshd, directory: Path, **changes: Any) -> Any:
    fields = {**access(sshd, directory, name=directory.name), "server_port": free_port(), **changes}
    added = await api.done("AddImageStoreBackupStorage", **fields)
    return (await api.call("GetImageStoreBackupStorage", uuid=added.inventory.uuid)).inventory


async def add_image(api: Api, tmp_path: Path, name: str, store: Any, **changes: Any) -> Any:
    url = f"file://{tmp_path}/{name}.raw"
    fields = {"name": name, "url": url, "format": "raw", "backup_storage_uuid": store.uuid, **changes}
    return await image_of(api, (await api.done("AddImage", **fields)).inventory.uuid)


def packs(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / "store" / "packs").iterdir())


def get(store: Any, path: str, **headers: str) -> tuple[int, bytes]:
    parts = urllib.parse.urlsplit(f"https://127.0.0.1:{store.server_port}")
    connection = http.client.HTTPSConnection(
        str(parts.hostname), parts.port, context=trusting(store.certificate), timeout=60
    )
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


async def unreachable(args: Any, work: Any) -> Any:
    raise TaskError("UNREACHABLE", "the connection was lost")


async def lose(unit: Unit, storage_uuid: str) -> None:
    storage = await unit.get(BackupStorage, storage_uuid)
    (await unit.companion(BackupStorageStatus, storage)).disconnected("it is away")


async def give_up(unit: Unit, image_uuid: str) -> None:
    image = await unit.get(Image, image_uuid)
    await drop_all_copies(unit, image)
    image.remove()


async def forget(unit: Unit, image_uuid: str, storage_uuid: str) -> None:
    storage = await unit.get(BackupStorage, storage_uuid)
    await drop_copy(unit, await unit.get(Image, image_uuid), storage)


def cache(store: Any, image: Any, to: Path, token: str, **changes: Any) -> Path:
    """What a host does."""
    server = {"url": f"https://127.0.0.1:{store.server_port}", "token": token, "certificate": store.certificate}
    task = CacheImageTask(
        store=ImageStoreAccess(**{**server, **changes}),
        image_uuid=image.uuid,
        source_path=image.copies[0].install_path,
        cache_path=str(to),
        sha256=image.sha256,
        actual_size=image.actual_size,
    )
    asyncio.run(CacheImage(CacheLocks()).run(task, Work("t", "r", 1, lambda _percent, _detail: None)))
    return to


def test_a_store_keeps_once_what_its_images_have_in_common(tmp_path: Path, sshd: PrivateSshd) -> None:
    """BS-23; hosts fetch by HTTPS with the token, and go on where they were."""

    async def body(api: Api) -> None:
        store = await add_store(api, sshd, tmp_path / "store")
        assert (store.type, store.status) == ("ImageStoreBackupStorage", type(store).STATUS_CONNECTED)
        base = await add_image(api, tmp_path, "base", store)
        assert (base.actual_size, base.sha256) == (len(BASE), hashlib.sha256(BASE).hexdigest())
        before = packs(tmp_path / "store")
        child = await add_image(api, tmp_path, "child", store)
        assert packs(tmp_path / "store") - before <= 65536
        shown = await storage_of(api, store.uuid)
        assert shown.total_capacity - shown.available_capacity == packs(tmp_path / "store")
        assert not list((tmp_path / "store" / "images").iterdir())

        token = (tmp_path / "store" / ".zcloud" / "token").read_text()
        assert os.stat(tmp_path / "store" / ".zcloud" / "token").st_mode & 0o077 == 0
        held = {"Authorization": f"Bearer {token}"}
        assert await asyncio.to_thread(get, store, f"/images/{child.uuid}") == (401, b"this needs the store's token\n")
        assert (await asyncio.to_thread(get, store, f"/images/{child.uuid}", **held))[1] == CHILD
        some = await asyncio.to_thread(get, store, f"/images/{child.uuid}", Range="bytes=100000-300000", **held)
        assert some == (206, CHILD[100_000:300_001])
        assert (await asyncio.to_thread(get, store, f"/images/{child.uuid}", Range="bytes=9999999-", **held))[0] == 416
        to = tmp_path / "cache" / "child.raw"
        to.parent.mkdir()
        part = to.with_name(to.name + ".part")
        part.write_bytes(CHILD[:500_000])
        assert (await asyncio.to_thread(cache, store, child, to, token)).read_bytes() == CHILD
        with pytest.raises(TaskError, match="token"):
            await asyncio.to_thread(cache, store, child, to.with_name("no"), "wrong")
        other = await add_store(api, sshd, tmp_path / "store2")
        with pytest.raises(TaskError, match="another certificate"):
            await asyncio.to_thread(cache, store, child, to.with_name("no"), token, certificate=other.certificate)

        # IMG-11: exports are for whoever has the name.
        fields = {"image_uuid": base.uuid, "backup_storage_uuid": store.uuid}
        await api.done("ExportImageFromBackupStorage", **fields)
        copy = (await image_of(api, base.uuid)).copies[0]
        assert copy.export_md5 == hashlib.md5(BASE).hexdigest()
        path = urllib.parse.urlsplit(copy.export_url).path
        assert path.endswith(f"/{base.uuid}.raw")
        assert await asyncio.to_thread(get, store, path) == (200, BASE)
        assert await asyncio.to_thread(get, store, path, Range="bytes=-10") == (206, BASE[-10:])
        assert (await asyncio.to_thread(get, store, "/exports/guessed/x.raw"))[0] == 404
        await api.done("ExportImageFromBackupStorage", **fields)
        assert (await image_of(api, base.uuid)).copies[0] == copy
        await api.done("DeleteExportedImageFromBackupStorage", **fields)
        assert (await image_of(api, base.uuid)).copies[0].export_url == ""
        assert (await asyncio.to_thread(get, store, path))[0] == 404
        # What lies in the recycle bin is given to nobody, and is not exported when it comes back.
        await api.done("ExportImageFromBackupStorage", **fields)
        path = urllib.parse.urlsplit((await image_of(api, base.uuid)).copies[0].export_url).path
        assert (await asyncio.to_thread(get, store, path))[0] == 200
        assert not (await api.call("DeleteImage", uuid=base.uuid)).job_uuid

        async def ended() -> bool:
            return not (await image_of(api, base.uuid)).copies[0].export_url

        await until(ended)
        assert (await asyncio.to_thread(get, store, path))[0] == 404
        await api.call("RecoverImage", uuid=base.uuid)
        assert (await image_of(api, base.uuid)).copies[0].export_url == ""
        await owed_to_one_that_is_away(api, store, base, child, held)

    on_node(tmp_path, body)


async def owed_to_one_that_is_away(api: Api, store: Any, base: Any, child: Any, held: dict[str, str]) -> None:
    """IMG-09, IMG-11: what was deleted meanwhile is given to nobody once it is back, and what had to go is gone."""
    name = "connection.autoReconnectOnError"
    await api.call("UpdateGlobalConfig", category="backupStorage", name=name, value="false")
    paths = []
    for image in (base, child):
        await api.done("ExportImageFromBackupStorage", image_uuid=image.uuid, backup_storage_uuid=store.uuid)
        paths.append(urllib.parse.urlsplit((await image_of(api, image.uuid)).copies[0].export_url).path)

    # It is lost when the end of an export is on its way.
    handler: Any = api.node.agents._handlers[DeleteExportedImageTask.DESCRIPTOR.full_name]
    handler.run, whole = unreachable, handler.run
    assert not (await api.call("DeleteImage", uuid=base.uuid)).job_uuid

    async def owed() -> Any:
        return list((await storage_of(api, store.uuid)).leftovers)

    await until(owed)
    assert await owed() == [f"exports/{base.uuid}"]
    handler.run = whole
    # It is away already.
    await api.node.cloud.decide(Context(), lambda unit: lose(unit, store.uuid))
    await api.call("DeleteImage", uuid=child.uuid)
    assert await owed() == [f"exports/{base.uuid}", f"exports/{child.uuid}"]
    assert [(await asyncio.to_thread(get, store, path))[0] for path in paths] == [200, 200]
    await api.call("RecoverImage", uuid=base.uuid)
    # Its account goes, whatever is away.
    await api.node.cloud.decide(Context(), lambda unit: give_up(unit, child.uuid))
    await api.done("ReconnectBackupStorage", uuid=store.uuid)
    assert await owed() == []
    assert [(await asyncio.to_thread(get, store, path))[0] for path in paths] == [404, 404]
    assert (await image_of(api, base.uuid)).copies[0].export_url == ""
    assert (await asyncio.to_thread(get, store, f"/images/{base.uuid}", **held))[0] == 200
    assert (await asyncio.to_thread(get, store, f"/images/{child.uuid}", **held))[0] == 404


async def reached_by_networks(api: Api, first: Any, second: Any, tmp_path: Path) -> None:
    """BS-24, BS-28: by an address in the network that is set, or not at all; and no more than the quota."""
    shown = (await api.call("GetBackupStorage", uuid=first.uuid)).inventory
    assert "127.0.0.1" in shown.addresses
    update, sync = "UpdateImageStoreBackupStorage", "SyncImageFromImageStoreBackupStorage"
    (tmp_path / "other.raw").write_bytes(CHANCE.randbytes(MIB))
    other = await add_image(api, tmp_path, "other", first)
    fields = {"image_uuid": other.uuid, "src_backup_storage_uuid": first.uuid, "dst_backup_storage_uuid": second.uuid}
    await api.call(update, uuid=first.uuid, sync_network_cidr="127.0.0.0/8")
    renetworked = await api.call(update, uuid=second.uuid, sync_network_cidr="203.0.113.0/24")
    assert (renetworked.job_uuid, renetworked.inventory.sync_network_cidr) == ("", "203.0.113.0/24")
    error = await refused(api.call(sync, **fields))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "STORAGE_UNREACHABLE")
    assert "127.0.0.1" in error.message
    wrong = await refused(api.call(update, uuid=first.uuid, sync_network_cidr="127.0.0.1/8"))
    assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["sync_network_cidr"])
    await api.call(update, uuid=second.uuid, sync_network_cidr="")
    quota = "SetImageStoreBackupStorageQuota"
    await api.call(quota, uuid=second.uuid, quota=1)
    full = await refused(api.call(sync, **fields))
    assert (full.code, full.reason) == ("RESOURCE_EXHAUSTED", "NO_STORAGE_AVAILABLE")
    assert (await api.call(quota, uuid=second.uuid, quota=0)).inventory.quota == 0
    await api.done(sync, **fields)


def test_stores_send_each_other_what_they_lack(tmp_path: Path, sshd: PrivateSshd) -> None:
    """BS-24, IMG-12; and from store to SFTP and back images go as files."""

    async def body(api: Api) -> None:
        first, second = [await add_store(api, sshd, tmp_path / name) for name in ("store1", "store2")]
        base = await add_image(api, tmp_path, "base", first)
        fields = {"src_backup_storage_uuid": first.uuid, "dst_backup_storage_uuid": second.uuid}
        await api.done("SyncImageFromImageStoreBackupStorage", image_uuid=base.uuid, **fields)
        child = await add_image(api, tmp_path, "child", first)
        before = packs(tmp_path / "store2")
        await api.done("SyncImageFromImageStoreBackupStorage", image_uuid=child.uuid, **fields)
        assert packs(tmp_path / "store2") - before <= 65536
        token = (tmp_path / "store2" / ".zcloud" / "token").read_text()
        held = {"Authorization": f"Bearer {token}"}
        assert (await asyncio.to_thread(get, second, f"/images/{child.uuid}", **held))[1] == CHILD
        await reached_by_networks(api, first, second, tmp_path)
        error = await refused(api.call("SyncImageFromImageStoreBackupStorage", image_uuid="f" * 32, **fields))
        assert error.code == "NOT_FOUND"
        sftp = await api.done("AddSftpBackupStorage", **access(sshd, tmp_path / "sftp"))
        await api.done("CopyImageToBackupStorage", uuid=child.uuid, backup_storage_uuid=sftp.inventory.uuid)
        other = {"image_uuid": child.uuid, "backup_storage_uuid": sftp.inventory.uuid}
        error = await refused(api.call("ExportImageFromBackupStorage", **other))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")
        assert error.message == (
            f'backup_storage_uuid is "{sftp.inventory.name}", of kind sftp_backup_storage; '
            "ExportImageFromBackupStorage takes image_store_backup_storage only"
        )
        error = await refused(api.call("ExportImageFromBackupStorage", **{**other, "backup_storage_uuid": child.uuid}))
        assert error.code == "NOT_FOUND"
        copies = {c.backup_storage_uuid: c for c in (await image_of(api, child.uuid)).copies}
        assert bits(copies[sftp.inventory.uuid]) == CHILD
        text = await add_image(api, tmp_path, "base", sftp.inventory)
        before = packs(tmp_path / "store2")
        await api.done("CopyImageToBackupStorage", uuid=text.uuid, backup_storage_uuid=second.uuid)
        assert packs(tmp_path / "store2") == before

    on_node(tmp_path, body)


async def reclaimed_by_itself(api: Api, uuid: str) -> None:
    """BS-25: where something went, once, and not while the store is Disabled."""
    watch = next(w for w in api.node.watches if isinstance(w, ImageStoreReclaim))
    await api.call("ChangeBackupStorageState", uuid=uuid, state_event="disable")
    before = api.node.cloud.log.head
    await watch.look()
    assert api.node.cloud.log.head == before
    await api.call("ChangeBackupStorageState", uuid=uuid, state_event="enable")
    await watch.look()
    filter = f'workflow = "reclaim_space" AND resource_uuid = "{uuid}"'

    async def ended() -> bool:
        jobs = (await api.call("QueryJob", filter=filter)).inventories
        return [job.state for job in jobs] == [jobs[0].STATE_SUCCEEDED]

    await until(ended)
    before = api.node.cloud.log.head
    await watch.look()
    assert api.node.cloud.log.head == before


def test_images_are_found_again_and_what_is_gone_is_cleaned_away(tmp_path: Path, sshd: PrivateSshd) -> None:
    """BS-25, BS-26, IMG-13; its server is started again when it is killed."""

    async def body(api: Api) -> None:
        store = await add_store(api, sshd, tmp_path / "store")
        base = await add_image(api, tmp_path, "base", store, platform="windows", description="as it was")
        child = await add_image(api, tmp_path, "child", store)
        await api.call("DeleteImage", uuid=child.uuid)
        await api.done("ExpungeImage", uuid=child.uuid)
        (tmp_path / "store" / "store" / "packs" / "left").write_bytes(bytes(1000))
        await reclaimed_by_itself(api, store.uuid)
        assert packs(tmp_path / "store") <= len(BASE)
        (tmp_path / "store" / "store" / "packs" / "left").write_bytes(bytes(1000))
        await api.done("ReclaimSpaceFromImageStore", uuid=store.uuid)
        assert packs(tmp_path / "store") <= len(BASE)
        stop({"url": str(tmp_path / "store")})
        await api.done("ReconnectImageStoreBackupStorage", uuid=store.uuid)
        await api.done("CalculateImageHash", uuid=base.uuid, backup_storage_uuid=store.uuid, algorithm="md5")
        await api.done("SyncImageSize", uuid=base.uuid)
        known = (await api.call("GetImage", uuid=base.uuid)).inventory
        assert (known.actual_size, known.copies[0].md5) == (len(BASE), hashlib.md5(BASE).hexdigest())
        told = (await api.call("GetImagesFromImageStoreBackupStorage", uuid=store.uuid)).images
        assert [(i.uuid, i.name, i.actual_size, i.platform) for i in told] == [
            (base.uuid, "base", len(BASE), "Windows")
        ]
        await api.call("UpdateImageStoreBackupStorage", uuid=store.uuid, name="renamed")
        listed = (await api.call("QueryImageStoreBackupStorage", filter="name = renamed")).inventories
        assert [s.uuid for s in listed] == [store.uuid]

        # Another cloud finds them, at once or when it is asked to.
        async with running_node(tmp_path / "other") as other:
            fields = {"server_port": store.server_port}
            added = await add_store(other, sshd, tmp_path / "store", import_images=True, **fields)

            async def taken_in() -> Any:
                return (await other.call("QueryImage")).inventories

            await until(taken_in)
            found = await image_of(other, base.uuid)
            assert (found.name, found.description, found.sha256) == ("base", "as it was", base.sha256)
            assert (found.platform, found.status) == (type(found).PLATFORM_WINDOWS, type(found).STATUS_READY)
            assert found.copies[0].backup_storage_uuid == added.uuid
            # In the books only: as where the cloud was lost, and its store was not.
            await other.node.cloud.decide(Context(), lambda unit: forget(unit, base.uuid, added.uuid))
            rpc = "RecoveryImageFromImageStoreBackupStorage"
            await other.done(rpc, uuid=added.uuid, image_uuids=["e" * 32])
            assert not await taken_in()
            await other.done(rpc, uuid=added.uuid)
            assert [i.uuid for i in await taken_in()] == [base.uuid]

    on_node(tmp_path, body)
