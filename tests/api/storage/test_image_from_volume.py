"""Images of volumes and snapshots, on a real backup storage: templates and data volumes (VM-17, BS-22, VOL-03)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from agents.simulator.export_handlers import empty_qcow2
from tests.api.compute.ground import GIB, Ground, ground, refused
from tests.api.storage.test_volume_snapshot import path_of, read, sound, take, write
from tests.api.storage.world import add_storage, bits, image_of, storage_of

pytestmark = pytest.mark.real


def on_real(tmp_path: Path, sshd: PrivateSshd, body: Callable[[Ground, Any], Awaitable[None]]) -> None:
    """Simulated hosts, and a backup storage that is real."""

    async def main() -> None:
        async with ground(tmp_path / "data") as here:
            backup = await add_storage(here.api, sshd, tmp_path / "store", name="real")
            await here.api.call("AttachBackupStorageToZone", backup_storage_uuid=backup.uuid, zone_uuid=here.zone)
            await body(here, backup)

    asyncio.run(main())


def files(tmp_path: Path) -> list[str]:
    """All that lies on the storage, apart from its helper."""
    store = tmp_path / "store"
    return sorted(str(p.relative_to(store)) for p in store.rglob("*") if p.is_file() and ".zcloud" not in p.parts)


@contextlib.asynccontextmanager
async def held_up(here: Ground, task: str) -> AsyncIterator[asyncio.Event]:
    """While this lasts, tasks of this name wait; the event says that one does."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    before = here.host.pace.before

    async def wait(name: str, work: Any) -> None:
        if name == task:
            reached.set()
            await go_on.wait()
        await before(name, work)

    here.host.pace.before = wait  # type: ignore[method-assign]
    try:
        yield reached
    finally:
        here.host.pace.before = before  # type: ignore[method-assign]
        go_on.set()


async def claims(here: Ground) -> set[str]:
    return {key.partition("/")[0] for key in (await here.books())["disk"] if "/" in key} - {"image"}


def test_a_machine_becomes_a_template_while_it_runs_and_while_it_does_not(tmp_path: Path, sshd: PrivateSshd) -> None:
    """VM-17; beyond BS-22, which wants it stopped."""

    async def body(here: Ground, backup: Any) -> None:
        vm = await here.create()
        root = vm.root_volume_uuid
        await write(here, root, a="1")
        before = await path_of(here, root)
        for name in ("running", "stopped"):
            made = await here.api.done(
                "CreateRootVolumeTemplateFromRootVolume",
                name=name,
                root_volume_uuid=root,
                backup_storage_uuid=backup.uuid,
                platform="other",
            )
            image = await image_of(here.api, made.inventory.uuid)
            kind = type(image)
            assert (image.status, image.type, image.format) == (
                kind.STATUS_READY,
                kind.TYPE_TEMPLATE,
                kind.FORMAT_QCOW2,
            )
            assert (image.size, image.url, image.volume_uuid) == (GIB, f"volume://{root}", root)
            assert (image.platform, image.media_type) == (kind.PLATFORM_OTHER, kind.MEDIA_TYPE_ROOT_VOLUME_TEMPLATE)
            assert bits(image.copies[0]) == empty_qcow2(GIB)
            assert (image.actual_size, image.sha256) == (
                len(empty_qcow2(GIB)),
                hashlib.sha256(empty_qcow2(GIB)).hexdigest(),
            )
            assert not (await here.api.call("QueryVolumeSnapshot")).inventories
            assert (await path_of(here, root), await read(here, root)) == (before, {"a": "1"})
            await sound(here, root)
            assert await claims(here) == set()
            if name == "running":
                await here.api.done("StopVmInstance", uuid=vm.uuid, type="cold")
        shown = await storage_of(here.api, backup.uuid)
        assert shown.total_capacity - shown.available_capacity == 2 * len(empty_qcow2(GIB))
        assert not [name for name in files(tmp_path) if name.startswith("uploads/")]

    on_real(tmp_path, sshd, body)


def test_the_machine_goes_on_while_its_image_is_made(tmp_path: Path, sshd: PrivateSshd) -> None:
    """What was written meanwhile stays, whether or not somebody takes a snapshot meanwhile; so does the snapshot."""

    async def body(here: Ground, backup: Any) -> None:
        vm = await here.create()
        root = vm.root_volume_uuid
        await write(here, root, a="1", b="1")
        for number, own in enumerate(("", "mine")):
            async with held_up(here, "ExportVolumeTask") as reached:
                fields = {"name": f"i{number}", "root_volume_uuid": root, "backup_storage_uuid": backup.uuid}
                made = await here.api.call("CreateRootVolumeTemplateFromRootVolume", **fields)
                await asyncio.wait_for(reached.wait(), 60)
                assert await claims(here) == {"export", "snapshot"}
                await write(here, root, b=f"while {number}")
                if own:
                    await take(here, root, own)
                await here.api.done("StopVmInstance", uuid=vm.uuid, type="cold")
                await here.api.done("StartVmInstance", uuid=vm.uuid)
            job = await here.api.wait(made.job_uuid)
            assert job.state == job.STATE_SUCCEEDED, job
            assert await read(here, root) == {"a": "1", "b": f"while {number}"}
            names = [s.name for s in (await here.api.call("QueryVolumeSnapshot")).inventories]
            assert names == ([own] if own else [])
            await sound(here, root)
            assert await claims(here) == ({"snapshot"} if own else set())

    on_real(tmp_path, sshd, body)


def test_an_image_that_cannot_be_made_leaves_nothing(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(here: Ground, backup: Any) -> None:
        vm = await here.create()
        root = vm.root_volume_uuid
        before = files(tmp_path)
        fields = {"root_volume_uuid": root, "backup_storage_uuid": backup.uuid}
        for task in ("ExportVolumeTask", "TakeSnapshotsTask"):
            here.order(task, "NO_SPACE", "as ordered")
            job = await here.failed("CreateRootVolumeTemplateFromRootVolume", name="i", **fields)
            assert "as ordered" in job.error
            assert not (await here.api.call("QueryVolumeSnapshot")).inventories
            assert await claims(here) == set()
            await sound(here, root)
        images = [i.name for i in (await here.api.call("QueryImage")).inventories]
        assert images == ["linux"]
        shown = await storage_of(here.api, backup.uuid)
        assert (shown.available_capacity, files(tmp_path)) == (shown.total_capacity, before)
        # Cancelled in the middle: as if it had never been asked for.
        async with held_up(here, "ExportVolumeTask") as reached:
            made = await here.api.call("CreateRootVolumeTemplateFromRootVolume", name="i", **fields)
            await asyncio.wait_for(reached.wait(), 60)
            await here.api.call("CancelJob", uuid=made.job_uuid)
        job = await here.api.wait(made.job_uuid)
        assert job.state == job.STATE_CANCELED, job
        assert [i.name for i in (await here.api.call("QueryImage")).inventories] == ["linux"]
        assert not (await here.api.call("QueryVolumeSnapshot")).inventories
        assert (await claims(here), files(tmp_path)) == (set(), before)

    on_real(tmp_path, sshd, body)


async def copied(here: Ground, snapshot: str, image: str, backup: str) -> None:
    """BS-02, BS-19: backup storages are found by the snapshots that were brought there, by images and by zones."""
    shown = (await here.api.call("GetVolumeSnapshot", uuid=snapshot)).inventory
    assert [(c.backup_storage_uuid, c.image_uuid) for c in shown.copies] == [(backup, image)]
    for filter, found in (
        ("volume_snapshot.name = then", [backup]),
        ("volumeSnapshot.name = none", []),
        ("image.name = then AND image.mediaType = DataVolumeTemplate", [backup]),
        (f"zone.uuid = {here.zone} AND image.name = then", [backup]),
    ):
        listed = (await here.api.call("QueryBackupStorage", filter=filter)).inventories
        assert [s.uuid for s in listed] == found, filter


def test_data_volumes_go_through_templates_and_snapshots(tmp_path: Path, sshd: PrivateSshd) -> None:
    """VOL-03: a new volume holds what the template does, and grows by itself."""

    async def body(here: Ground, backup: Any) -> None:
        api = here.api
        made = await api.done("CreateDataVolume", name="d", disk_size=2 * GIB, primary_storage_uuid=here.storage)
        volume = made.inventory.uuid
        snapshot = await take(here, volume, "then", a="1")
        where = {"backup_storage_uuid": backup.uuid}
        first = await api.done("CreateDataVolumeTemplateFromVolume", name="now", volume_uuid=volume, **where)
        second = await api.done(
            "CreateDataVolumeTemplateFromVolumeSnapshot", name="then", volume_snapshot_uuid=snapshot, **where
        )
        for answer in (first, second):
            image = await image_of(api, answer.inventory.uuid)
            assert (image.media_type, image.size) == (type(image).MEDIA_TYPE_DATA_VOLUME_TEMPLATE, 2 * GIB)
        assert (await image_of(api, second.inventory.uuid)).url == f"volumeSnapshot://{snapshot}"
        await copied(here, snapshot, second.inventory.uuid, backup.uuid)
        assert [s.uuid for s in (await api.call("QueryVolumeSnapshot")).inventories] == [snapshot]
        fields = {"name": "copy", "primary_storage_uuid": here.storage}
        copy = await api.done("CreateDataVolumeFromVolumeTemplate", image_uuid=first.inventory.uuid, **fields)
        shown = (await api.call("GetVolume", uuid=copy.inventory.uuid)).inventory
        assert (shown.size, shown.image_uuid, shown.status) == (2 * GIB, first.inventory.uuid, shown.STATUS_READY)
        assert here.host.world.volumes[shown.install_path].backing_path in here.host.world.cache
        # It can be captured itself, and what it rests on is a part of that.
        again = await api.done("CreateDataVolumeTemplateFromVolume", name="again", volume_uuid=shown.uuid, **where)
        assert (await image_of(api, again.inventory.uuid)).size == 2 * GIB
        await sound(here, shown.uuid)

        here.order("CreateRootVolumeTask")
        await here.failed("CreateDataVolumeFromVolumeTemplate", image_uuid=second.inventory.uuid, **fields)
        names = {v.name for v in (await api.call("QueryVolume")).inventories}
        assert names == {"d", "copy"}
        assert await claims(here) == {"snapshot"}
        await api.call("DeleteImage", uuid=second.inventory.uuid)
        await api.done("ExpungeImage", uuid=second.inventory.uuid)
        assert not (await api.call("QueryBackupStorage", filter="volume_snapshot.name = then")).inventories
        error = await refused(api.call("CreateDataVolumeFromVolumeTemplate", image_uuid=here.image, **fields))
        assert (error.reason, "RootVolumeTemplate" in error.message) == ("NOT_SUPPORTED", True)
        for rpc, field, uuid in (
            ("CreateRootVolumeTemplateFromRootVolume", "root_volume_uuid", volume),
            ("CreateRootVolumeTemplateFromVolumeSnapshot", "volume_snapshot_uuid", snapshot),
        ):
            error = await refused(api.call(rpc, name="no", **{field: uuid}))
            assert (error.reason, "CreateDataVolumeTemplateFrom" in error.message) == ("NOT_SUPPORTED", True)

    on_real(tmp_path, sshd, body)


def test_a_root_snapshot_becomes_a_template_unless_it_is_disabled(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(here: Ground, backup: Any) -> None:
        vm = await here.create()
        snapshot = await take(here, vm.root_volume_uuid, "then", a="1")
        fields = {"name": "i", "volume_snapshot_uuid": snapshot, "backup_storage_uuid": backup.uuid}
        made = await here.api.done("CreateRootVolumeTemplateFromVolumeSnapshot", **fields)
        image = await image_of(here.api, made.inventory.uuid)
        assert (image.status, image.size) == (type(image).STATUS_READY, GIB)
        other = await here.create(name="copy", image_uuid=image.uuid)
        assert (await here.api.call("GetVolume", uuid=other.root_volume_uuid)).inventory.image_uuid == image.uuid
        await here.api.call("ChangeVolumeSnapshotState", uuid=snapshot, state_event="disable")
        error = await refused(here.api.call("CreateRootVolumeTemplateFromVolumeSnapshot", **fields))
        assert error.reason == "WRONG_STATE"

    on_real(tmp_path, sshd, body)
