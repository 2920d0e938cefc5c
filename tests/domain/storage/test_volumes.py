"""Volumes and their chains of snapshots, by what is given, commanded and comes of it (VOL-02, SNP-01)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.domain.storage.ground import GIB, ZONE, Ground, events, run
from zcloud.domain.storage.disk_offering import DiskOffering
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.domain.storage.volume_chain import ChainNode, VolumeChain
from zcloud.domain.storage.volume_snapshot_group import GroupMember, VolumeSnapshotGroup
from zcloud.kernel.errors import Reason, Refused

VM = "a" * 32


def reason(body: Callable[[], Any]) -> Reason:
    with pytest.raises(Refused) as refused:
        body()
    return refused.value.reason


@pytest.fixture
def volume() -> Volume:
    made = run(Ground().unit.new(Volume))
    made.create_data(name="data", size=GIB)
    return made


def test_an_offering_keeps_its_size() -> None:
    made = run(Ground().unit.new(DiskOffering))
    made.create(name="small", disk_size=GIB)
    assert events(made) == ["Created"]
    assert made.disk_size == GIB


def test_attached_once_and_in_one_zone(volume: Volume) -> None:
    volume.attach(VM, 1, ZONE)
    assert (volume.vm_instance_uuid, volume.device_id, volume.zone_uuid) == (VM, 1, ZONE)
    assert reason(lambda: volume.attach(VM, 2, ZONE)) is Reason.ALREADY_ATTACHED
    assert reason(lambda: volume.must_be_free("deleted")) is Reason.STILL_IN_USE
    volume.detach()
    volume.detach()
    assert events(volume) == ["Created", "Attached", "Detached"]
    assert reason(lambda: volume.attach(VM, 1, "f" * 32)) is Reason.NOT_SAME_ZONE
    volume.change_state("disable")
    assert reason(lambda: volume.attach(VM, 1, ZONE)) is Reason.WRONG_STATE


def test_it_only_grows(volume: Volume) -> None:
    assert reason(lambda: volume.must_grow_to(GIB - 1)) is Reason.INVALID_FIELD
    volume.resized(GIB)
    volume.resized(2 * GIB)
    assert (events(volume), volume.size) == (["Created", "Resized"], 2 * GIB)


def test_a_root_volume_goes_its_vms_way() -> None:
    root = run(Ground().unit.new(Volume))
    root.create_root(vm_instance_uuid=VM, vm_name="vm", zone_uuid=ZONE, image_uuid="b" * 32, size=GIB)
    assert reason(lambda: root.change_state("disable")) is Reason.NOT_SUPPORTED
    assert reason(lambda: root.must_be_free("deleted")) is Reason.NOT_SUPPORTED


def test_the_recycle_bin_remembers_when() -> None:
    ground = Ground()
    made = run(ground.unit.new(Volume))
    made.create_data(name="data", size=GIB)
    disk = run(ground.unit.companion(VolumeStatus, made))
    disk.created()
    disk.delete()
    assert disk.deleted_date == ground.unit.now
    disk.recover()
    assert (disk.status, disk.deleted_date) == (VolumeState.NOT_INSTANTIATED, 0)


def chain(*names: str) -> VolumeChain:
    """Snapshots on each other, each in a file of its name."""
    made = VolumeChain.blank("c" * 32)
    below = ""
    for name in names:
        made.extend(name, ChainNode(f"/{name}", below, "tree", size=10))
        below = name
    return made


def test_a_chain_says_what_lies_on_what() -> None:
    made = chain("a", "b", "c")
    assert (made.tip, made.below_tip()) == ("c", ("c", "b", "a"))
    made.move_tip("a")
    assert made.on_top_of("a") == ("b", "")
    made.extend("d", ChainNode("/d", "a", "tree", size=5))
    assert (made.on_top_of("a"), made.below_tip()) == (("b", "d"), ("d", "a"))
    assert (made.snapshot_count, made.snapshot_size) == (4, 35)
    made.retract("d")
    assert (made.tip, sorted(made.nodes)) == ("a", ["a", "b", "c"])


def test_merged_into_the_file_on_top() -> None:
    made = chain("a", "b", "c")
    made.merged("b", "c", "", 25)
    assert (made.nodes["c"].parent, made.nodes["c"].path, made.nodes["c"].size) == ("a", "/c", 25)
    assert made.paths == ("/a", "/b", "/c")
    made.drop("b")
    assert made.paths == ("/a", "/c")
    made.merged("c", "", "", 0)
    assert made.tip == "a"


def test_the_file_on_top_takes_its_place() -> None:
    made = chain("a", "b", "c")
    made.merged("a", "b", "/a", 20)
    assert (made.nodes["b"].path, made.nodes["b"].parent, made.nodes["a"].path) == ("/a", "", "")
    assert made.paths == ("/a", "/c")


def test_what_is_discarded_is_swept_once() -> None:
    made = chain("a")
    made.discard("/old")
    assert made.paths == ("/a", "/old")
    made.swept()
    made.swept()
    assert events(made) == ["Extended", "Discarded", "Swept"]


def test_a_group_goes_with_its_last_snapshot() -> None:
    made = run(Ground().unit.new(VolumeSnapshotGroup))
    made.create(
        name="g", vm_instance_uuid=VM, zone_uuid=ZONE, members=(GroupMember("s", "v"), GroupMember("t", "w", 1))
    )
    made.member_deleted("s")
    made.member_deleted("s")
    assert (made.snapshot_count, made.exists) == (1, True)
    made.member_deleted("t")
    assert not made.exists
    assert events(made) == ["Created", "MemberDeleted", "MemberDeleted", "Removed"]
