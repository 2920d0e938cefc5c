"""Resources by given, when, then: no log, no server."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.kernel.toy import Thing, Weight
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.event import Event
from zcloud.kernel.resource import State

UUID = "1" * 32


def given(*events: Event, cls: Any = Thing) -> Any:
    """The aggregate after these events."""
    made = cls.blank(UUID)
    for time, event in enumerate(events, 1):
        made.fold(event, time)
    return made


CREATED = Thing.Created(name="box", account_uuid="a")


def test_a_resource_begins_with_its_creation() -> None:
    thing = Thing.blank(UUID)
    assert not thing.exists
    thing.__dict__["now"] = 7
    thing.create(name="box", inside="x")
    assert thing.exists
    assert (thing.name, thing.inside, thing.version, thing.create_date, thing.last_op_date) == ("box", "x", 1, 7, 7)
    assert thing.pending == (Thing.Created(name="box", inside="x"),)


@pytest.mark.parametrize(
    ("change", "events"),
    [
        ({"name": "new"}, (Thing.Updated(name="new"),)),
        ({"description": "d"}, (Thing.Updated(description="d"),)),
        ({"name": "new", "description": "d"}, (Thing.Updated(name="new", description="d"),)),
        ({"name": "box"}, ()),
        ({"name": "box", "description": "d"}, (Thing.Updated(description="d"),)),
        ({"description": ""}, ()),
        ({}, ()),
    ],
)
def test_only_what_changes_is_an_event(change: dict[str, str], events: tuple[Event, ...]) -> None:
    thing = given(CREATED)
    thing.update(**change)
    assert thing.pending == events
    assert thing.version == 1 + len(events)


def test_a_description_can_be_emptied() -> None:
    thing = given(Thing.Created(name="box", description="old"))
    thing.update(description="")
    assert (thing.name, thing.description) == ("box", "")


def test_switching() -> None:
    thing = given(CREATED)
    thing.change_state("enable")
    assert thing.pending == ()
    thing.change_state("disable")
    thing.change_state("disable")
    assert thing.state is State.DISABLED
    assert thing.pending == (Thing.StateChanged(state=State.DISABLED),)


def test_sharing_and_taking_back() -> None:
    thing = given(CREATED)
    thing.share(("b", "c"), False)
    thing.share(("c", "b"), False)
    assert thing.pending == (Thing.Shared(account_uuids=("b", "c")),)
    thing.share(("c", "d"), True)
    assert (thing.shared_with, thing.shared_to_public) == (frozenset("bcd"), True)
    thing.revoke_sharing(("x",), False)
    assert len(thing.pending) == 2
    thing.revoke_sharing(("b",), False)
    assert (thing.shared_with, thing.shared_to_public) == (frozenset("cd"), True)
    thing.revoke_sharing((), True)
    assert (thing.shared_with, thing.shared_to_public) == (frozenset(), False)


def test_a_deletion_that_has_begun_is_not_begun_again() -> None:
    thing = given(CREATED, Thing.DeletionBegun(job_uuid="j1"))
    with pytest.raises(Refused) as refused:
        thing.begin_deletion("j2")
    assert (refused.value.code, refused.value.reason) == (Code.FAILED_PRECONDITION, Reason.BEING_DELETED)
    assert refused.value.facts == {"job_uuid": "j1"}
    thing.abort_deletion("no")
    thing.begin_deletion("j2")
    assert thing.deleting_job == "j2"


def test_giving_up_a_deletion_that_never_began_is_no_event() -> None:
    thing = given(CREATED)
    thing.abort_deletion("no")
    assert thing.pending == ()


def test_what_is_gone_is_not_removed_again() -> None:
    thing = given(CREATED, Thing.Removed())
    assert not thing.exists
    thing.remove()
    assert thing.pending == ()


def test_a_new_life_begins_blank() -> None:
    """A kept field of the first life would be a leak from one owner to the next."""
    thing = Thing.blank(UUID, version=3)
    thing.fold(Thing.Created(name="second"), 9)
    assert (thing.version, thing.name, thing.items, thing.shared_with, thing.removed) == (
        4,
        "second",
        (),
        frozenset(),
        False,
    )


def test_a_copy_decides_for_itself() -> None:
    thing = given(CREATED)
    one, other = thing.copy(), thing.copy()
    one.fill("a")
    other.fill("b")
    assert (thing.items, one.items, other.items) == ((), ("a",), ("b",))
    assert (thing.pending, thing.version) == ((), 1)


def test_facts_lie_in_a_stream_of_their_own() -> None:
    weight = Weight.blank(UUID)
    assert weight.stream == Weight.stream_of(UUID) != UUID
    # No uuid that a caller may choose looks like this, and a uuid's next life has other facts.
    assert not re.fullmatch("[0-9a-f]{32}", weight.stream)
    assert Weight.stream_of(UUID, 3) != weight.stream


def test_every_kind_has_event_classes_of_its_own() -> None:
    """Bases share code; the log must know whose event it is."""
    from zcloud.kernel.job import Job

    assert Thing.Updated is not Job.Updated
    assert (Thing.Updated.topic, Job.Updated.topic) == ("toy_thing.Updated", "job.Updated")
