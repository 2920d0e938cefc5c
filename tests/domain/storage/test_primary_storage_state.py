"""States of primary storages by given, when, then: where each event leads, and what each state allows (PS-01)."""

from __future__ import annotations

import pytest

from tests.domain.storage.ground import GIB, Ground, events, run
from zcloud.domain.storage import allocation
from zcloud.domain.storage.primary_storage_state import TABLE, PrimaryStorageEvent, PrimaryStorageState
from zcloud.kernel.errors import Reason, Refused

SENSE = {"enable": "Enabled", "disable": "Disabled", "maintain": "Maintenance"}
KEY = "a" * 32


@pytest.mark.parametrize("before", SENSE)
@pytest.mark.parametrize("event", SENSE)
def test_each_event_leads_to_the_state_of_its_sense(before: str, event: str) -> None:
    storage = Ground().primary()
    storage.change_state(before)
    told = len(storage.pending)
    storage.change_state(event)
    assert storage.state.value == SENSE[event]
    assert events(storage)[told:] == ([] if before == event else ["StateChanged"])


@pytest.mark.parametrize("before", SENSE)
def test_a_deletion_that_fails_gives_it_back_as_it_was(before: str) -> None:
    storage = Ground().primary()
    storage.change_state(before)
    storage.begin_deletion("b" * 32)
    assert storage.state is TABLE[PrimaryStorageState(SENSE[before]), PrimaryStorageEvent.DELETING]
    for event in SENSE:
        with pytest.raises(Refused) as refused:
            storage.change_state(event)
        assert refused.value.reason is Reason.BEING_DELETED
    storage.must_serve("a file cannot be removed")  # or it could never be deleted
    storage.abort_deletion("no")
    assert storage.state.value == SENSE[before]


@pytest.mark.parametrize(
    ("event", "new", "grows", "serves"),
    [("enable", True, True, True), ("disable", False, True, True), ("maintain", False, False, False)],
)
def test_what_each_state_allows(event: str, new: bool, grows: bool, serves: bool) -> None:
    ground = Ground()
    host = ground.host()
    storage = ground.primary(host)
    storage.change_state(event)
    for allowed, how in ((new, False), (grows, True)):
        lack = run(allocation.lacks(ground.unit, storage, host, GIB, grows=how))
        assert (lack == "") is allowed
        assert allowed or SENSE[event] in lack
    if serves:
        storage.must_serve("volume cannot be attached")
    else:
        with pytest.raises(Refused) as refused:
            storage.must_serve("volume cannot be attached")
        assert (refused.value.reason, SENSE[event] in refused.value.message) == (Reason.WRONG_STATE, True)
