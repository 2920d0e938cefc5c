"""Backup storages over a socket, on a real sshd: add, reconnect, loss and return, zones, deletion (BS-01..18)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import raw
from tests.api.storage.world import access, add_storage, allow, in_cloud, storage_of
from tests.support.cloud import Api, ApiError, running_node, until
from tests.support.sshd import running_sshd
from zcloud.processes.storage.backup_storage_watch import BackupStorageWatch

pytestmark = pytest.mark.real


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


def test_a_directory_is_one_storages_own(tmp_path: Path, sshd: PrivateSshd) -> None:
    """Else a copy that is deleted in the one would be lost in the other, which shows it as Ready (BS-16)."""

    async def body(api: Api) -> None:
        here = access(sshd, tmp_path / "store", hostname="localhost")
        first = await api.done("AddSftpBackupStorage", **here)
        for rpc in ("AddSftpBackupStorage", "AddImageStoreBackupStorage"):
            for changes in ({}, {"hostname": "LOCALHOST"}, {"url": f"{here['url']}/in"}, {"url": str(tmp_path)}):
                with pytest.raises(ApiError) as refused:
                    await api.call(rpc, **{**here, "name": "second", **changes})
                assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "OVERLAP"), changes
                assert '"sftp"' in refused.value.message
        away = (await api.done("AddSftpBackupStorage", **{**here, "url": f"{here['url']}2"})).inventory.uuid
        # Another server has another port or name; nobody moves to where another lies.
        elsewhere = {**here, "hostname": "127.0.0.1"}
        other = (await api.done("AddSftpBackupStorage", **elsewhere)).inventory.uuid
        with pytest.raises(ApiError) as moved:
            await api.call("UpdateSftpBackupStorage", uuid=other, hostname="localhost")
        assert moved.value.reason == "OVERLAP"
        await api.call("UpdateSftpBackupStorage", uuid=other, username="root", name="renamed")
        await api.done("UpdateSftpBackupStorage", uuid=away, hostname="127.0.0.1")
        # It is free again when the first is gone.
        await api.done("DeleteBackupStorage", uuid=first.inventory.uuid)
        await api.done("UpdateSftpBackupStorage", uuid=other, hostname="localhost")

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
