"""An occurrence runs once: killed at every commit, with clocks that jump, with two nodes at once (SCH-02, SCH-12)."""

from __future__ import annotations

import logging

import pytest

from tests.faults.harness.scheduled import RUNS, live, together

pytestmark = pytest.mark.faults
ONCE = {
    "scheduler_occurrence.Created": RUNS,
    "scheduler_occurrence.Started": RUNS,
    "scheduler_occurrence.Accepted": RUNS,
    "scheduler_occurrence.TargetEnded": RUNS,
    "scheduler_occurrence.Ended": RUNS,
    "reboots": RUNS,
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def test_killed_at_every_commit_of_an_occurrence() -> None:
    plain = live()
    assert plain.wrong == []
    assert plain.states == ["Succeeded"] * RUNS
    assert plain.commits >= 10
    for commit in range(1, plain.commits + 1):
        for moment in ("before", "after"):
            found = live((commit, moment))
            assert found.wrong == [], (commit, moment)
            assert (found.states, dict(found.written)) == (plain.states, ONCE), (commit, moment)


@pytest.mark.parametrize("jump", [-3600.0, -7.0, 7.0])
def test_killed_while_the_clock_jumps(jump: float) -> None:
    plain = live()
    for commit in range(1, plain.commits + 1, 5):
        found = live((commit, "after"), jump=jump)
        assert found.wrong == [], commit
        assert dict(found.written) == ONCE, commit


def test_two_nodes_at_once_do_it_once() -> None:
    found = together(5)
    assert found.states == ["Succeeded"] * 5
    assert found.written["scheduler_occurrence.Accepted"] == 5
    assert found.written["scheduler_occurrence.Ended"] == 5
