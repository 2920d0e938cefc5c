"""What a host owes: each thing once, until it is settled or written off (HST-04)."""

from __future__ import annotations

from zcloud.domain.infrastructure.host_debt import HostDebt, OwedItem, debt_uuids

VM = OwedItem("vm_instance", "1" * 32, reason="away")
FILES = OwedItem("volume", "2" * 32, paths=("/ps/a", "/ps/b"), reason="away")


def debt(*items: OwedItem) -> HostDebt:
    made = HostDebt.blank(debt_uuids("h" * 32).uuid)
    made.create(name="host", zone_uuid="z", host_uuid="h" * 32, management_ip="10.0.0.1")
    for item in items:
        made.owe(item)
    return made


def events(made: HostDebt, given: int) -> list[str]:
    """Behind those that were given."""
    return [event.topic for event in made.pending[given:]]


def test_owing_the_same_again_is_no_event_and_owing_more_of_it_replaces_it() -> None:
    made = debt(VM, FILES)
    made.owe(OwedItem("vm_instance", "1" * 32, reason="still away"))
    assert events(made, given=3) == []
    made.owe(OwedItem("volume", "2" * 32, paths=("/ps/a",)))
    assert [i.paths for i in made.items] == [(), ("/ps/a",)]


def test_it_ends_with_its_last_item() -> None:
    made = debt(VM, FILES)
    made.settle(FILES)
    assert made.exists
    assert made.items == (VM,)
    made.settle(FILES)
    assert events(made, given=3) == ["host_debt.Settled"]
    made.settle(VM)
    assert not made.exists
    assert events(made, given=3) == ["host_debt.Settled", "host_debt.Settled", "host_debt.Removed"]


def test_what_is_written_off_stays_in_the_log() -> None:
    made = debt(VM)
    made.write_off()
    assert not made.exists
    assert events(made, given=2) == ["host_debt.WrittenOff", "host_debt.Removed"]
    assert made.pending[2].items == (VM,)  # type: ignore[attr-defined]


def test_each_host_has_one() -> None:
    assert debt_uuids("a" * 32) == debt_uuids("a" * 32) != debt_uuids("b" * 32)
