"""CD drives of a VM by given, when, then (VM-06, VM-31)."""

from __future__ import annotations

import pytest

from zcloud.domain.compute.vm_cd_roms import VmCdRom, VmCdRoms
from zcloud.kernel.errors import Reason, Refused


def given(*drives: VmCdRom) -> VmCdRoms:
    it = VmCdRoms.blank("a" * 32)
    for drive in drives:
        it.trigger(VmCdRoms.Added(cd_rom=drive))
    it.__dict__["pending"] = []
    return it


def test_drives_take_the_lowest_free_place() -> None:
    it = given(VmCdRom("x", 0, "iso"), VmCdRom("z", 2))
    it.add("y", 3)
    assert [(one.uuid, one.device_id) for one in it.cd_roms] == [("x", 0), ("y", 1), ("z", 2)]
    with pytest.raises(Refused) as full:
        it.add("w", 3)
    assert full.value.reason is Reason.NOT_SUPPORTED


def test_an_iso_goes_into_the_first_empty_drive_or_the_one_asked_for() -> None:
    it = given(VmCdRom("x", 0, "one"), VmCdRom("y", 1), VmCdRom("z", 2))
    assert it.free_drive().uuid == "y"
    assert it.free_drive("z").uuid == "z"
    for asked in ("x", "other"):
        with pytest.raises(Refused) as held:
            it.free_drive(asked)
        assert held.value.reason is Reason.STILL_IN_USE
    it.insert("z", "two")
    assert it.iso_uuids == ("one", "two")
    with pytest.raises(Refused) as twice:
        it.insert("y", "two")
    assert twice.value.reason is Reason.ALREADY_ATTACHED


def test_what_holds_an_iso_stays_and_ejecting_twice_is_no_event() -> None:
    it = given(VmCdRom("x", 0, "one"))
    with pytest.raises(Refused) as held:
        it.remove_drive("x")
    assert held.value.reason is Reason.STILL_IN_USE
    it.eject("one")
    events = len(it.pending)
    it.eject("one")
    assert len(it.pending) == events == 1
    it.remove_drive("x")
    assert it.cd_roms == ()
