"""Snapshots at the door: what guests wrote is found again, whatever is deleted around it (SNP-01..06, VM-14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.compute.ground import GIB, Ground, on_ground, refused


async def path_of(here: Ground, volume: str) -> str:
    return str((await here.api.call("GetVolume", uuid=volume)).inventory.install_path)


async def write(here: Ground, volume: str, **data: str) -> None:
    """As a guest would."""
    here.host.world.volumes[await path_of(here, volume)].data.update(data)


def read_file(here: Ground, path: str) -> dict[str, str]:
    """All that is found through a file and those below."""
    found: dict[str, str] = {}
    files = here.host.world.volumes
    while path in files:
        found = {**files[path].data, **found}
        path = files[path].backing_path
    assert path == "" or path in here.host.world.cache, f"{path} is missing"
    return found


async def read(here: Ground, volume: str) -> dict[str, str]:
    return read_file(here, await path_of(here, volume))


async def take(here: Ground, volume: str, name: str = "s", **data: str) -> str:
    """Write, and take a snapshot of it."""
    await write(here, volume, **data)
    made = await here.api.done("CreateVolumeSnapshot", volume_uuid=volume, name=name)
    return str(made.inventory.uuid)


async def snapshot(here: Ground, uuid: str) -> Any:
    return (await here.api.call("GetVolumeSnapshot", uuid=uuid)).inventory


async def held(here: Ground, uuid: str) -> dict[str, str]:
    return read_file(here, (await snapshot(here, uuid)).install_path)


async def sound(here: Ground, volume: str) -> None:
    """Files, records and books say the same."""
    files = {path for path, file in here.host.world.volumes.items() if file.uuid == volume}
    found = (await here.api.call("QueryVolumeSnapshot", filter=f"volume_uuid = {volume}")).inventories
    assert {await path_of(here, volume), *(one.install_path for one in found)} == files
    claims = {key.removeprefix("snapshot/"): size for key, (_, size) in (await here.books())["disk"].items()}
    assert {one.uuid: one.size for one in found} == {one.uuid: claims.get(one.uuid) for one in found}
    assert {key for key in (await here.books())["disk"] if key.startswith("snapshot/")} == {
        f"snapshot/{one.uuid}" for one in (await here.api.call("QueryVolumeSnapshot")).inventories
    }
    it = (await here.api.call("GetVolume", uuid=volume)).inventory
    assert (it.snapshot_count, it.snapshot_size) == (len(found), sum(one.size for one in found))
    assert sum(one.latest for one in found) <= 1
    for one in found:
        below = here.host.world.volumes[one.install_path].backing_path
        parents = [p.install_path for p in found if p.uuid == one.parent_uuid]
        assert [below] == parents or (not parents and below not in files)


def test_taken_of_a_running_vm_and_reverted_to(tmp_path: Path) -> None:
    """SNP-01, VM-14, VOL-10."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        root = vm.root_volume_uuid
        first = await take(here, root, "first", a="1")
        await write(here, root, a="2", b="2")
        found = await snapshot(here, first)
        assert (found.status, found.latest, found.distance) == (found.STATUS_READY, True, 0)
        assert (found.vm_instance_uuid, found.volume_size) == (vm.uuid, GIB)
        assert here.host.world.vms[vm.uuid].spec.disks[0].path == await path_of(here, root)
        error = await refused(here.api.call("RevertVolumeFromSnapshot", uuid=first))
        assert error.reason == "WRONG_STATE"
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await here.api.done("ResizeRootVolume", uuid=root, size=2 * GIB)
        await here.api.call("ChangeVolumeSnapshotState", uuid=first, state_event="disable")
        assert (await refused(here.api.call("RevertVolumeFromSnapshot", uuid=first))).reason == "WRONG_STATE"
        await here.api.call("ChangeVolumeSnapshotState", uuid=first, state_event="enable")
        await here.api.done("RevertVolumeFromSnapshot", uuid=first, start_after=True)
        await here.becomes(vm.uuid, "RUNNING")
        assert await read(here, root) == {"a": "1"}
        assert (await here.api.call("GetVolume", uuid=root)).inventory.size == GIB
        await sound(here, root)
        assert here.host.world.vms[vm.uuid].spec.disks[0].path == await path_of(here, root)

    on_ground(tmp_path, body)


def test_trees_branch_and_what_is_deleted_is_missed_by_nobody(tmp_path: Path) -> None:
    """SNP-01, SNP-05, behaviours 8: the guest runs or not, a middle, a root, a branching point or a leaf goes."""

    async def body(here: Ground) -> None:
        api = here.api
        vm = await here.create()
        root = vm.root_volume_uuid
        one = await take(here, root, "one", a="1", x="1")
        two = await take(here, root, "two", b="2", x="2")
        three = await take(here, root, "three", c="3", x="3")
        assert [(await snapshot(here, u)).distance for u in (one, two, three)] == [0, 1, 2]
        wanted = {u: await held(here, u) for u in (one, two, three)}
        # In the middle of what a running guest has open.
        await api.done("DeleteVolumeSnapshot", uuid=two)
        await sound(here, root)
        assert await held(here, three) == wanted[three]
        await api.done("StopVmInstance", uuid=vm.uuid)
        await api.done("RevertVolumeFromSnapshot", uuid=one)
        assert await read(here, root) == wanted[one]
        await sound(here, root)
        four = await take(here, root, "four", d="4")
        found = await snapshot(here, four)
        assert (found.parent_uuid, found.distance, found.latest) == (one, 1, True)
        assert not (await snapshot(here, one)).latest
        wanted[four] = await held(here, four)
        await api.done("StartVmInstance", uuid=vm.uuid)
        await write(here, root, e="5")
        # Two branches rest on it, of which a running guest has one open.
        await api.done("DeleteVolumeSnapshot", uuid=one)
        await sound(here, root)
        assert (await held(here, three), await held(here, four)) == (wanted[three], wanted[four])
        assert await read(here, root) == {**wanted[four], "e": "5"}
        trees = (await api.call("QueryVolumeSnapshotTree", filter=f"volume_uuid = {root}")).inventories
        assert [(tree.current, tree.status) for tree in trees] == [(True, trees[0].STATUS_COMPLETED)]
        answer = await api.call("BatchDeleteVolumeSnapshots", volume_snapshot_uuids=[three, four])
        for job in answer.job_uuids:
            assert (await api.wait(job)).state
        await sound(here, root)
        assert await read(here, root) == {**wanted[four], "e": "5"}
        assert not (await api.call("QueryVolumeSnapshotTree")).inventories
        assert (await refused(api.call("GetVolumeSnapshotTree", uuid=trees[0].uuid))).code == "NOT_FOUND"
        # With the volume all goes.
        await take(here, root, "five")
        await api.done("DeleteVmInstance", uuid=vm.uuid)
        await api.done("ExpungeVmInstance", uuid=vm.uuid)
        assert not (await api.call("QueryVolumeSnapshot")).inventories
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    """Behaviours 8: past the longest chain a new tree begins, which needs nothing of the old one."""

    async def body(here: Ground) -> None:
        value = {"category": "volumeSnapshot", "name": "incrementalSnapshot.maxNum", "value": "2"}
        await here.api.call("UpdateGlobalConfig", **value)
        made = await here.api.done("CreateDataVolume", name="d", disk_size=GIB, primary_storage_uuid=here.storage)
        data = made.inventory.uuid
        uuids = [await take(here, data, f"s{n}", **{f"k{n}": "v"}) for n in range(3)]
        found = [await snapshot(here, uuid) for uuid in uuids]
        assert [one.distance for one in found] == [0, 1, 0]
        assert found[0].tree_uuid == found[1].tree_uuid != found[2].tree_uuid
        assert here.host.world.volumes[found[2].install_path].backing_path == ""
        await sound(here, data)
        assert await held(here, uuids[2]) == {"k0": "v", "k1": "v", "k2": "v"}
        # It goes to the recycle bin with its snapshots, and comes back with them.
        await here.api.done("DeleteDataVolume", uuid=data)
        assert (await refused(here.api.call("CreateVolumeSnapshot", volume_uuid=data, name="x"))).reason
        await here.api.done("RecoverDataVolume", uuid=data)
        await here.api.done("RevertVolumeFromSnapshot", uuid=uuids[0])
        assert await read(here, data) == {"k0": "v"}
        trees = (await here.api.call("QueryVolumeSnapshotTree", filter="current = true")).inventories
        assert [tree.uuid for tree in trees] == [found[0].tree_uuid]
        warned = [await here.api.done("CreateVolumeSnapshot", volume_uuid=data, name="w") for _ in range(3)]
        assert [bool(answer.warnings) for answer in warned] == [False, False, True]
        await here.api.done("DeleteDataVolume", uuid=data)
        await here.api.done("ExpungeDataVolume", uuid=data)
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_what_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    """SNP-01: rolled back on failure; a merge that fails keeps the snapshot."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        root = vm.root_volume_uuid
        kept = await take(here, root, "kept", a="1")
        here.order("TakeSnapshotsTask")
        await here.failed("CreateVolumeSnapshot", volume_uuid=root, name="x")
        await sound(here, root)
        here.order("PullVolumeTask", times=2)
        await here.failed("DeleteVolumeSnapshot", uuid=kept)
        found = await snapshot(here, kept)
        assert (found.status, found.latest) == (found.STATUS_READY, True)
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await write(here, root, a="2")
        here.order("RevertVolumesTask")
        await here.failed("RevertVolumeFromSnapshot", uuid=kept)
        assert await read(here, root) == {"a": "2"}
        await sound(here, root)
        assert (
            await refused(here.api.call("CreateVolumeSnapshot", volume_uuid="0" * 32, name="x"))
        ).code == "NOT_FOUND"

    on_ground(tmp_path, body)


def test_groups(tmp_path: Path) -> None:
    """SNP-03, SNP-04, VM-14: all volumes at one moment, back together, or not at all; then each alone."""

    async def body(here: Ground) -> None:
        api = here.api
        vm = await here.create(data_disk_sizes=[GIB])
        root, data = vm.root_volume_uuid, vm.data_volume_uuids[0]
        await write(here, root, r="1")
        await write(here, data, d="1")
        made = (await api.done("CreateVolumeSnapshotGroup", vm_instance_uuid=vm.uuid, name="g")).inventory
        group = (await api.call("GetVolumeSnapshotGroup", uuid=made.uuid)).inventory
        assert (group.snapshot_count, [m.volume_uuid for m in group.members]) == (2, [root, data])
        await api.call("UpdateVolumeSnapshotGroup", uuid=group.uuid, name="renamed")
        await write(here, root, r="2")
        await write(here, data, d="2")
        await api.done("StopVmInstance", uuid=vm.uuid)
        await api.done("RevertVmFromSnapshotGroup", uuid=group.uuid, start_after=True)
        await here.becomes(vm.uuid, "RUNNING")
        assert (await read(here, root), await read(here, data)) == ({"r": "1"}, {"d": "1"})
        for volume in (root, data):
            await sound(here, volume)

        await api.done("StopVmInstance", uuid=vm.uuid)
        await api.done("DetachDataVolumeFromVm", uuid=data)
        other = (await api.call("CreateDataVolume", name="new", disk_size=GIB)).inventory.uuid
        await api.done("AttachDataVolumeToVm", volume_uuid=other, vm_instance_uuid=vm.uuid)
        second = (await api.done("CreateVolumeSnapshotGroup", root_volume_uuid=root, name="h")).inventory
        lost = [m.volume_snapshot_uuid for m in second.members if m.volume_uuid == other]
        await api.done("DeleteVolumeSnapshot", uuid=lost[0])
        text = (await refused(api.call("RevertVmFromSnapshotGroup", uuid=group.uuid))).message
        assert f"volume {data} is not attached any more" in text
        assert f"volume {other} was attached since" in text
        text = (await refused(api.call("RevertVmFromSnapshotGroup", uuid=second.uuid))).message
        assert f"snapshot {lost[0]} was deleted" in text

        await api.done("UngroupVolumeSnapshotGroup", uuid=group.uuid)
        assert (await refused(api.call("GetVolumeSnapshotGroup", uuid=group.uuid))).code == "NOT_FOUND"
        alone = [await snapshot(here, m.volume_snapshot_uuid) for m in group.members]
        assert [one.group_uuid for one in alone] == ["", ""]
        await api.done("DeleteVolumeSnapshotGroup", uuid=second.uuid)
        assert not (await api.call("QueryVolumeSnapshotGroup")).inventories
        for wrong in ({}, {"vm_instance_uuid": vm.uuid, "root_volume_uuid": root}):
            error = await refused(api.call("CreateVolumeSnapshotGroup", name="x", **wrong))
            assert error.reason == "INVALID_FIELD"
        here.order("TakeSnapshotsTask")
        await here.failed("CreateVolumeSnapshotGroup", vm_instance_uuid=vm.uuid, name="x")
        assert not (await api.call("QueryVolumeSnapshotGroup")).inventories
        # All that has snapshots, the most first (SNP-02).
        found = (await api.call("QueryVolume", filter="snapshot_count > 0", order_by="snapshot_size desc")).inventories
        assert {volume.uuid for volume in found} == {root, data}
        await api.call("UpdateVolumeSnapshot", uuid=alone[0].uuid, name="renamed")

    on_ground(tmp_path, body)
