"""The state machine against the reference's table, every pair of state and event (behaviours 1)."""

from __future__ import annotations

import pytest

from zcloud.domain.compute.vm_state import AT_REST, INTERMEDIATE, REPORTED, TABLE, VmEvent, VmState, next_state, path_to
from zcloud.domain.compute.vm_status import EVENTS, VmInstanceStatus
from zcloud.kernel.errors import Reason, Refused


def each(to: str, states: str) -> str:
    return " ".join(f"{state}:{to}" for state in states.split())


# As the reference has it, column by column: an event, and for each state that takes it the state it leads to.
BY_EVENT = {
    "starting": "Created:Starting Stopped:Starting VolumeRecovering:VolumeRecovering",
    "running": "Starting:Running Running:Running Stopping:Running Stopped:Running Migrating:Running "
    "VolumeRecovering:VolumeRecovering Rebooting:Running Paused:Running Pausing:Running Resuming:Running "
    "Unknown:Running Destroying:Running Crashed:Running NoState:Running",
    "stopping": "Running:Stopping VolumeRecovering:Stopping Paused:Stopping Unknown:Stopping Crashed:Stopping "
    "NoState:Stopping",
    "stopped": "Starting:Stopped Running:Stopped Stopping:Stopped Stopped:Stopped Migrating:Stopped "
    "VolumeMigrating:Stopped VolumeRecovering:Stopped Rebooting:Stopped Paused:Stopped Unknown:Stopped "
    "Destroyed:Stopped Crashed:Stopped NoState:Stopped",
    "rebooting": "Running:Rebooting Crashed:Rebooting NoState:Rebooting",
    "pausing": "Running:Pausing",
    "paused": "Starting:Paused Running:Paused Stopped:Paused Migrating:Paused Pausing:Paused Resuming:Paused "
    "Unknown:Paused",
    "resuming": "Paused:Resuming",
    "destroying": each(
        "Destroying",
        "Created Starting Running Stopping Stopped Migrating VolumeMigrating VolumeRecovering Rebooting Paused "
        "Pausing Resuming Unknown Destroying Crashed NoState",
    ),
    "destroyed": "Created:Destroyed Destroying:Destroyed Crashed:Destroyed NoState:Destroyed",
    "expunging": "Destroying:Expunging",
    "migrating": "Running:Migrating Paused:Migrating Unknown:Migrating",
    "migrated": "Migrating:Running",
    "volumeMigrating": "Running:Migrating Stopped:VolumeMigrating",
    "volumeMigrated": "Migrating:Running VolumeMigrating:Stopped Paused:Running",
    "volumeRecovering": "Running:VolumeRecovering Stopped:VolumeRecovering VolumeRecovering:VolumeRecovering",
    "volumeRecovered": "VolumeRecovering:Running",
    "crashed": "Running:Crashed Crashed:Crashed NoState:Crashed",
    "noState": each(
        "NoState",
        "Running Stopped Migrating VolumeMigrating VolumeRecovering Rebooting Paused Pausing Resuming Unknown "
        "Crashed NoState",
    ),
    "unknown": each(
        "Unknown",
        "Starting Running Stopping Stopped Migrating VolumeMigrating VolumeRecovering Rebooting Paused Pausing "
        "Resuming Unknown Destroying Crashed NoState",
    ),
}
EXPECTED = {
    (VmState(pair.split(":")[0]), VmEvent(event)): VmState(pair.split(":")[1])
    for event, pairs in BY_EVENT.items()
    for pair in pairs.split()
}


def in_state(state: VmState, host: str = "h" * 32) -> VmInstanceStatus:
    status = VmInstanceStatus.blank("a" * 32)
    status.state = state
    status.host_uuid = "" if state in AT_REST else host
    return status


@pytest.mark.parametrize("state", list(VmState))
@pytest.mark.parametrize("event", list(VmEvent))
def test_every_pair(state: VmState, event: VmEvent) -> None:
    status = in_state(state)
    if (state, event) in EXPECTED:
        assert next_state(state, event) is EXPECTED[state, event]
        status.take(event, "for a reason")
        assert status.state is EXPECTED[state, event]
        assert type(status.pending[0]) is EVENTS[event]
    else:
        with pytest.raises(AssertionError, match="cannot take the event"):
            status.take(event)
        assert status.pending == ()


def test_the_table_is_the_references() -> None:
    assert TABLE == EXPECTED
    assert set(EVENTS) == set(VmEvent)


@pytest.mark.parametrize("state", [s for s in VmState if s not in (VmState.ERROR, VmState.EXPUNGING)])
@pytest.mark.parametrize("real", list(REPORTED))
def test_whatever_a_host_says_is_taken(state: VmState, real: VmState) -> None:
    if state in (VmState.CREATED, VmState.DESTROYED):
        return  # a host's word about these is handled before it comes here
    status = in_state(state)
    status.before = type(status.before)(VmState.RUNNING, "h" * 32)
    status.found(real, "seen", host=("h" * 32, "c" * 32, "KVM"))
    assert status.state is real
    assert (status.host_uuid == "") is (real is VmState.STOPPED)


def test_what_no_host_can_say() -> None:
    for state in set(VmState) - set(REPORTED):
        with pytest.raises(KeyError):
            path_to(VmState.RUNNING, state)


@pytest.mark.parametrize("state", list(VmState))
def test_a_lost_host_makes_unknown_what_is_not_at_rest(state: VmState) -> None:
    status = in_state(state)
    if state is VmState.ERROR:
        return
    status.lost("gone")
    assert status.state is (state if state in AT_REST else VmState.UNKNOWN)


def test_what_its_disks_suffer_from_is_known_until_its_process_ends() -> None:
    """PS-07: whatever becomes of its host meanwhile, and whoever pauses it or reboots it in vain."""
    status = in_state(VmState.RUNNING)
    status.disks_failed("they give errors")
    assert (status.state, status.state_reason) == (VmState.RUNNING, "they give errors")
    told = status.version
    status.disks_failed("they give errors")
    assert status.version == told
    status.lost("its host is away")
    assert (status.state, status.state_reason) == (VmState.UNKNOWN, "its host is away")
    status.found(VmState.RUNNING, "found Running on its host")
    assert status.state_reason == "they give errors"
    for event in (VmEvent.PAUSING, VmEvent.PAUSED):
        status.take(event)
    assert status.state_reason == "they give errors"
    for event in (VmEvent.RESUMING, VmEvent.RUNNING, VmEvent.REBOOTING):
        status.take(event)
    status.revert("no")
    assert status.state_reason == "they give errors"
    for event in (VmEvent.REBOOTING, VmEvent.RUNNING):
        status.take(event)
    assert status.state_reason == ""
    # One that has not begun has nothing open, and what begins anew on another host has it open there.
    stopped = in_state(VmState.STOPPED)
    stopped.disks_failed("they give errors")
    assert stopped.disk_errors == ""
    for end in (VmEvent.MIGRATED, VmEvent.STOPPED):
        status = in_state(VmState.MIGRATING)
        status.disks_failed("they give errors")
        status.take(end)
        assert (status.disk_errors, status.state_reason) == ("", "")


def test_a_failed_operation_goes_back_to_where_it_was() -> None:
    status = in_state(VmState.STOPPED)
    status.last_host_uuid = "1" * 32
    status.take(VmEvent.STARTING, host=("2" * 32, "c" * 32, "KVM"))
    assert (status.host_uuid, status.last_host_uuid) == ("2" * 32, "1" * 32)
    status.revert("no")
    assert (status.state, status.host_uuid, status.last_host_uuid) == (VmState.STOPPED, "", "1" * 32)
    assert status.state_reason == "no"
    before = status.pending
    status.revert("again")
    assert status.pending == before, "there is nothing to go back to"


def test_leaving_a_host_remembers_it() -> None:
    status = in_state(VmState.RUNNING, "1" * 32)
    status.take(VmEvent.STOPPING)
    status.take(VmEvent.STOPPED, leave=True)
    assert (status.host_uuid, status.last_host_uuid) == ("", "1" * 32)


def test_a_refusal_names_both_states() -> None:
    with pytest.raises(Refused) as refused:
        in_state(VmState.DESTROYING).must_allow("stop", frozenset({VmState.RUNNING, VmState.PAUSED}))
    assert refused.value.reason is Reason.WRONG_STATE
    assert refused.value.facts == {"state": "Destroying", "allowed": "Paused, Running"}


def test_a_new_vm_under_an_old_uuid_begins_anew() -> None:
    status = in_state(VmState.RUNNING)
    status.take(VmEvent.STOPPED, "why", leave=True)
    status.created()
    assert (status.state, status.state_reason, status.host_uuid, status.last_host_uuid) == (VmState.CREATED, "", "", "")


def test_saying_the_same_again_is_no_event() -> None:
    status = in_state(VmState.RUNNING)
    status.take(VmEvent.RUNNING)
    assert status.pending == ()
    assert not status.found(VmState.RUNNING, "seen")
    assert all(state not in AT_REST for state in INTERMEDIATE - {VmState.EXPUNGING})
