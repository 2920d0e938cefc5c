"""Backup storages over a socket, on a real sshd: add, reconnect, loss and return, zones, deletion (BS-01..18)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import raw
from tests.api.storage.world import access, add_storage, allow, storage_of
from tests.support.cloud import Api, ApiError, running_node, until
from tests.support.sshd import running_sshd
from tests.support.web import running_web
from zcloud.processes.storage.backup_storage_watch import BackupStorageWatch
from zcloud.v1.image_task_pb2 import DownloadImageTask

pytestmark = pytest.mark.real


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with running_node(directory / "data") as api:
            await body(api)

    asyncio.run(main())


def size_of(path: str) -> int:
    """0 for a file that is not there."""
    return os.path.getsize(path) if os.path.exists(path) else 0


def watch_of(api: Api) -> BackupStorageWatch:
    return next(w for w in api.node.watches if isinstance(w, BackupStorageWatch))


def test_life(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(api: Api) -> None:
        added = await api.call("AddSftpBackupStorage", **access(sshd, tmp_path / "store"))
        assert added.inventory.status == added.inventory.STATUS_CONNECTING
        job = await api.wait(added.job_uuid)
        assert job.state == job.STATE_SUCCEEDED, job
        found = (await api.call("GetSftpBackupStorage", uuid=added.inventory.uuid)).inventory
        assert found.status == found.STATUS_CONNECTED
        assert found.state == found.STATE_ENABLED
        assert found.type == "SftpBackupStorage"
        assert found.total_capacity == found.available_capacity > 0
        assert (found.hostname, found.ssh_port, found.username) == ("127.0.0.1", sshd.port, "root")
        assert sshd.client_key.splitlines()[1] not in str(found)
        assert api.node.cloud._cache[found.uuid].host_key == sshd.host_key
        uuid = found.uuid

        # zones
        zones = [(await api.call("CreateZone", name=f"z{n}")).inventory.uuid for n in range(2)]
        for zone in zones:
            await api.call("AttachBackupStorageToZone", backup_storage_uuid=uuid, zone_uuid=zone)
        with pytest.raises(ApiError) as twice:
            await api.call("AttachBackupStorageToZone", backup_storage_uuid=uuid, zone_uuid=zones[0])
        assert (twice.value.code, twice.value.reason) == ("FAILED_PRECONDITION", "ALREADY_ATTACHED")
        await api.call("DetachBackupStorageFromZone", backup_storage_uuid=uuid, zone_uuid=zones[0])
        with pytest.raises(ApiError) as absent:
            await api.call("DetachBackupStorageFromZone", backup_storage_uuid=uuid, zone_uuid=zones[0])
        assert absent.value.reason == "NOT_ATTACHED"
        assert list((await storage_of(api, uuid)).attached_zone_uuids) == [zones[1]]
        await api.done("DeleteZone", uuid=zones[1])
        assert list((await storage_of(api, uuid)).attached_zone_uuids) == []

        # state and names
        await api.call("ChangeBackupStorageState", uuid=uuid, state_event="disable")
        changed = await storage_of(api, uuid)
        assert (changed.state, changed.status) == (changed.STATE_DISABLED, changed.STATUS_CONNECTED)
        await api.call("ChangeBackupStorageState", uuid=uuid, state_event="enable")
        renamed = await api.call("UpdateSftpBackupStorage", uuid=uuid, name="renamed", description="d")
        assert renamed.job_uuid == ""
        listed = (await api.call("QueryBackupStorage", filter="name = renamed")).inventories
        assert [s.uuid for s in listed] == [uuid]
        listed = (await api.call("QuerySftpBackupStorage", filter='hostname = "127.0.0.1"')).inventories
        assert [s.uuid for s in listed] == [uuid]

        # another way in that is none: Disconnected with the reason, and back again
        broken = await api.call("UpdateSftpBackupStorage", uuid=uuid, ssh_port=1)
        assert (await api.wait(broken.job_uuid)).state == job.STATE_FAILED
        lost = await storage_of(api, uuid)
        assert lost.status == lost.STATUS_DISCONNECTED
        assert lost.status_reason
        await api.done("UpdateSftpBackupStorage", uuid=uuid, ssh_port=sshd.port)
        assert (await storage_of(api, uuid)).status == lost.STATUS_CONNECTED
        await api.done("ReconnectBackupStorage", uuid=uuid)

        await api.done("DeleteBackupStorage", uuid=uuid)
        with pytest.raises(ApiError) as gone:
            await storage_of(api, uuid)
        assert gone.value.code == "NOT_FOUND"

    in_cloud(tmp_path, body)


def test_a_storage_that_cannot_be_connected_is_not_kept(tmp_path: Path, sshd: PrivateSshd) -> None:
    uuid = "a" * 32

    async def body(api: Api) -> None:
        wrong = access(sshd, tmp_path / "store", resource_uuid=uuid, private_key="", password="wrong")
        refused = await api.call("AddSftpBackupStorage", **wrong)
        job = await api.wait(refused.job_uuid)
        assert job.state == job.STATE_FAILED
        assert job.error
        assert "wrong" not in str(job)
        with pytest.raises(ApiError) as gone:
            await storage_of(api, uuid)
        assert gone.value.code == "NOT_FOUND"
        # its uuid is free again
        await add_storage(api, sshd, tmp_path / "store", resource_uuid=uuid)

        for changes, field in (
            ({"url": "/etc/images"}, "url"),
            ({"url": "relative"}, "url"),
            ({"private_key": ""}, "password"),
            ({"ssh_port": 70000}, "ssh_port"),
        ):
            with pytest.raises(ApiError) as invalid:
                await api.call("AddSftpBackupStorage", **access(sshd, tmp_path / "other", **changes))
            assert (invalid.value.code, invalid.value.fields) == ("INVALID_ARGUMENT", [field])
        assert (await api.call("QueryBackupStorage", count=True)).total == 1

    in_cloud(tmp_path, body)


def test_a_lost_server_is_seen_and_its_return_too(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.call("UpdateGlobalConfig", category="backupStorage", name="ping.maxFailure", value="1")
        with running_sshd(tmp_path / "sshd") as server:
            uuid = (await add_storage(api, server, tmp_path / "store")).uuid
            watch = watch_of(api)
            before = api.node.cloud.log.head
            await watch.look()
            assert api.node.cloud.log.head == before  # a ping that is no news is no event

            server.stop()
            await watch.look()
            lost = await storage_of(api, uuid)
            assert lost.status == lost.STATUS_DISCONNECTED
            assert lost.status_reason
            before = api.node.cloud.log.head
            await watch.look()
            assert api.node.cloud.log.head == before

            server.start()
            await watch.look()

            async def back() -> bool:
                return bool((await storage_of(api, uuid)).status == lost.STATUS_CONNECTED)

            await until(back)

    in_cloud(tmp_path, body)


def test_a_node_that_starts_connects_them_anew(tmp_path: Path) -> None:
    async def main() -> None:
        with running_sshd(tmp_path / "sshd") as server:
            async with running_node(tmp_path / "data") as api:
                uuid = (await add_storage(api, server, tmp_path / "store")).uuid
            server.stop()
            async with running_node(tmp_path / "data") as api:

                async def lost() -> bool:
                    found = await storage_of(api, uuid)
                    return bool(found.status == found.STATUS_DISCONNECTED)

                await until(lost)
                server.start()
                await api.done("ReconnectBackupStorage", uuid=uuid)
                found = await storage_of(api, uuid)
                assert found.status == found.STATUS_CONNECTED

    asyncio.run(main())


def test_a_server_that_was_set_up_anew_is_accepted_by_an_operator(tmp_path: Path) -> None:
    """BS-15: another key is refused until somebody says that it is right, by the key itself or for the next one."""

    async def body(api: Api) -> None:
        with running_sshd(tmp_path / "sshd") as server:
            uuid = (await add_storage(api, server, tmp_path / "store")).uuid

            def set_up_anew() -> None:
                server.stop()
                for name in ("host_key", "host_key.pub"):
                    (tmp_path / "sshd" / name).unlink()
                server.start()

            for said in ("the new key", ""):
                set_up_anew()
                job = await api.wait((await api.call("ReconnectBackupStorage", uuid=uuid)).job_uuid)
                assert job.state == job.STATE_FAILED
                assert "host key changed" in job.error
                shown = (await api.call("GetSftpBackupStorage", uuid=uuid)).inventory
                assert shown.status == shown.STATUS_DISCONNECTED
                assert shown.host_key not in ("", server.host_key)
                key = f"[127.0.0.1]:{server.port} {server.host_key} a comment" if said else ""
                await api.done("UpdateSftpBackupStorage", uuid=uuid, host_key=key)
                shown = (await api.call("GetSftpBackupStorage", uuid=uuid)).inventory
                assert (shown.status, shown.host_key) == (shown.STATUS_CONNECTED, server.host_key)
            # a key that is not the server's is not believed
            other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJTm2WRjvXbbyWSSxFEEpVDEFJyZyTBGIbFO1zqMRoyP"
            job = await api.wait((await api.call("UpdateSftpBackupStorage", uuid=uuid, host_key=other)).job_uuid)
            assert job.state == job.STATE_FAILED
            for wrong in ("ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa " + other.split()[1], "a\nb"):
                with pytest.raises(ApiError) as invalid:
                    await api.call("UpdateSftpBackupStorage", uuid=uuid, host_key=wrong)
                assert (invalid.value.code, invalid.value.fields) == ("INVALID_ARGUMENT", ["host_key"]), wrong

    in_cloud(tmp_path, body)


def test_one_that_stays_away_is_asked_less_and_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BS-10: the pauses double; after so many attempts as are set only a caller reconnects it."""

    async def body(api: Api) -> None:
        await api.call("UpdateGlobalConfig", category="backupStorage", name="ping.maxFailure", value="1")
        with running_sshd(tmp_path / "sshd") as server:
            uuid = (await add_storage(api, server, tmp_path / "store")).uuid
            watch = watch_of(api)
            asked: list[int] = []

            async def probe(_args: Any) -> str:
                asked.append(watch._round)
                return "no route to host"

            monkeypatch.setitem(api.node.cloud.ports, "probe", probe)
            for _ in range(20):
                await watch.look()
            first = asked[0]
            assert [n - first for n in asked] == [0, 1, 2, 4, 8, 16]
            name = "connection.autoReconnectOnError.maxAttemptsNum"
            await api.call("UpdateGlobalConfig", category="backupStorage", name=name, value="5")
            for _ in range(40):
                await watch.look()
            assert len(asked) == 6
            await api.done("ReconnectBackupStorage", uuid=uuid)
            await watch.look()
            assert len(asked) == 7

    in_cloud(tmp_path, body)


def test_what_was_left_while_it_was_away_is_removed_when_it_is_back(tmp_path: Path) -> None:
    """BS-10: an image whose storage is lost on the way fails, no operator is needed, and nothing stays behind."""

    async def body(api: Api) -> None:
        with running_sshd(tmp_path / "sshd") as server, running_web() as web:
            await allow(api)
            uuid = (await add_storage(api, server, tmp_path / "store")).uuid
            content, let_go = b"\1\2\3\4" * (2 << 20), threading.Event()

            def halting(request: Any) -> None:
                request.send_response(200)
                request.send_header("Content-Length", str(len(content)))
                request.send_header("ETag", '"one"')
                request.end_headers()
                request.wfile.write(content[: len(content) // 2])
                let_go.wait(60)

            web.answers["/halting"] = halting
            handler = api.node.agents._handlers[DownloadImageTask.DESCRIPTOR.full_name]
            handler._retry_seconds = (0.1,)
            added = await api.call("AddImage", name="i", url=web.url("/halting"), format="raw")
            path = f"{tmp_path}/store/images/{added.inventory.uuid}/{added.inventory.uuid}.raw"

            async def half() -> bool:
                return size_of(path + ".part") > 1 << 20

            await until(half)
            server.stop()
            job = await api.wait(added.job_uuid)
            assert job.state == job.STATE_FAILED, job
            let_go.set()
            left = await storage_of(api, uuid)
            assert list(left.leftovers) == [path]
            assert left.available_capacity == left.total_capacity
            assert size_of(path + ".part") > 0  # nobody was there to remove it
            server.start()
            await api.done("ReconnectBackupStorage", uuid=uuid)
            assert list((await storage_of(api, uuid)).leftovers) == []
            assert size_of(path + ".part") == 0

    in_cloud(tmp_path, body)


def test_a_transfer_whose_connection_is_lost_goes_on_where_it_was(tmp_path: Path) -> None:
    """BS-14: the job knows nothing of it."""

    async def body(api: Api) -> None:
        with running_sshd(tmp_path / "sshd") as server, running_web() as web:
            await allow(api)
            await add_storage(api, server, tmp_path / "store")
            content, ranges, halt = os.urandom(4 << 20), [], threading.Event()

            def resumable(request: Any) -> None:
                at = int(request.headers.get("Range", "bytes=0-")[6:-1])
                ranges.append((at, request.headers.get("If-Range")))
                request.send_response(206 if at else 200)
                request.send_header("Content-Length", str(len(content) - at))
                request.send_header("Content-Range", f"bytes {at}-{len(content) - 1}/{len(content)}")
                request.send_header("ETag", '"one"')
                request.end_headers()
                half = len(content) // 2
                if not at:
                    request.wfile.write(content[:half])
                    halt.wait(60)
                request.wfile.write(content[at or half :])

            web.answers["/resumable"] = resumable
            handler = api.node.agents._handlers[DownloadImageTask.DESCRIPTOR.full_name]
            handler._retry_seconds = (0.2,) * 20
            digest = hashlib.sha256(content).hexdigest()
            added = await api.call("AddImage", name="i", url=web.url("/resumable"), format="raw", sha256=digest)
            part = f"{tmp_path}/store/images/{added.inventory.uuid}/{added.inventory.uuid}.raw.part"

            async def half_there() -> bool:
                return size_of(part) > 1 << 20

            await until(half_there)
            server.drop_connections()
            job = await api.wait(added.job_uuid)
            halt.set()
            assert job.state == job.STATE_SUCCEEDED, job
            assert [tag for _, tag in ranges] == [None, '"one"']
            assert ranges[1][0] >= 1 << 20

    in_cloud(tmp_path, body)


def test_deletion_of_one_that_is_away(tmp_path: Path) -> None:
    """BS-16: Permissive fails and keeps all, Enforcing gives the copies up; images with a copy elsewhere live on."""
    source = raw(tmp_path / "disk.raw")

    async def body(api: Api) -> None:
        await allow(api, networks="", paths=str(tmp_path))
        with running_sshd(tmp_path / "sshd") as server, running_sshd(tmp_path / "other") as other:
            away = (await add_storage(api, server, tmp_path / "store", "away")).uuid
            here = (await add_storage(api, other, tmp_path / "here", "here")).uuid
            fields = {"url": f"file://{source}", "format": "raw", "platform": "linux", "backup_storage_uuid": away}
            only = (await api.done("AddImage", name="only", **fields)).inventory.uuid
            both = (await api.done("AddImage", name="both", **fields)).inventory.uuid
            await api.done("CopyImageToBackupStorage", uuid=both, backup_storage_uuid=here)
            for images, storages in (('image.name = "only"', {away}), ("image.platform = Linux", {away, here})):
                found = (await api.call("QueryBackupStorage", filter=images)).inventories
                assert {s.uuid for s in found} == storages, images
            server.stop()
            job = await api.wait((await api.call("DeleteBackupStorage", uuid=away)).job_uuid)
            assert job.state == job.STATE_FAILED
            kept = (await api.call("QueryImage", filter=f"copies.backup_storage_uuid = {away}")).inventories
            assert {i.uuid for i in kept} == {only, both}
            await api.done("DeleteBackupStorage", uuid=away, delete_mode="enforcing")
            left = (await api.call("QueryImage")).inventories
            assert [(i.uuid, [c.backup_storage_uuid for c in i.copies]) for i in left] == [(both, [here])]

    in_cloud(tmp_path, body)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up(tmp_path: Path, sshd: PrivateSshd, small: Path) -> None:
    """BS-07: what does not fit is said with figures, and nothing of it stays."""

    async def body(api: Api) -> None:
        await allow(api)
        await api.call("UpdateGlobalConfig", category="backupStorage", name="reservedCapacity", value="0")
        with running_web() as web:
            storage = await add_storage(api, sshd, small / "store")
            assert storage.total_capacity == 16 << 20
            begun, full = threading.Event(), threading.Event()

            def endless(request: Any) -> None:
                request.send_response(200)
                request.end_headers()
                request.wfile.write(b"\1\2\3\4" * (1 << 20))
                begun.set()
                full.wait(60)
                request.wfile.write(b"\1\2\3\4" * (2 << 20))

            web.answers["/endless"] = endless
            added = await api.call("AddImage", name="i", url=web.url("/endless"), format="raw")
            await asyncio.to_thread(begun.wait)
            await asyncio.to_thread((small / "others").write_bytes, b"x" * (9 << 20))
            full.set()
            job = await api.wait(added.job_uuid)
            assert job.state == job.STATE_FAILED
            assert "is full" in job.error
            assert "bytes are left" in job.error
            assert os.listdir(small / "store" / "images") == []
            # what is measured at the next connect counts for what comes next
            await api.done("ReconnectBackupStorage", uuid=storage.uuid)
            with pytest.raises(ApiError) as refused:
                await api.call("AddImage", name="u", url="upload://u", format="raw", size=8 << 20)
            assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "NO_STORAGE_AVAILABLE")
            assert str(8 << 20) in refused.value.message

    in_cloud(tmp_path, body)
