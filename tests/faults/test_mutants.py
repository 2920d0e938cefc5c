"""Mistakes made on purpose: each must be found by the harness, else the harness is worth nothing."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.faults.harness.boundary import live
from tests.faults.harness.explore import explore
from tests.faults.harness.grounds import ground
from tests.faults.harness.mutants import BOUNDARY, LOSES_REPORTS, NO_PROBE, OWNERS, STORM, mutated
from tests.faults.harness.scenarios import BY_NAME
from tests.faults.harness.storm import storm
from tests.faults.harness.takeover import takeover
from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.faults
ENOUGH_SEEDS = 200
# Much is held up for long, and nothing lost: old tasks come after newer ones, and old reports too.
LATE = 0.3


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("mutant", BOUNDARY)
def test_found_at_a_boundary(mutant: str) -> None:
    name, patch = BOUNDARY[mutant]
    scenario = BY_NAME[name]
    ground(scenario.ground)  # made by the code as it is
    with mutated(patch):
        try:
            wrong = explore(scenario, every=3, stop_at=1).wrong
        except TimeoutError:
            wrong = ["it never ended"]
    assert wrong


@pytest.mark.parametrize("late", [LATE, 0.0])
def test_nothing_is_wrong_in_the_same_weather_without_mistakes(late: float) -> None:
    assert [run for seed in range(10) if (run := storm(seed, late)).wrong] == []


@pytest.mark.parametrize("mutant", STORM)
def test_found_in_bad_weather(mutant: str) -> None:
    for name in ("attached", "running", "stopped"):
        ground(name)
    with mutated(STORM[mutant]):
        assert any(storm(seed, LATE).wrong for seed in range(ENOUGH_SEEDS))


def test_found_when_an_agent_dies() -> None:
    scenario = BY_NAME["add_image"]
    ground(scenario.ground)
    with mutated(NO_PROBE):
        assert live(scenario, dies_at="task.after_effect").wrong


def test_found_where_a_step_waits_in_vain() -> None:
    """A node that loses a report now and then."""
    for name in ("attached", "running", "stopped"):
        ground(name)
    with mutated(LOSES_REPORTS):
        assert any(w.endswith("TIMEOUT") for seed in range(ENOUGH_SEEDS) for w in storm(seed, 0.0).wrong)


def test_nobody_writes_what_is_anothers_by_then(postgres: PostgresCluster) -> None:
    """ARC-14, MN-02: of two nodes on one log, each paused in the middle of a decision."""
    assert asyncio.run(takeover(postgres.database(), 1)) == []


@pytest.mark.parametrize("mutant", OWNERS)
def test_found_when_work_is_taken_over(mutant: str, postgres: PostgresCluster) -> None:
    with mutated(OWNERS[mutant]):
        assert asyncio.run(takeover(postgres.database(), 1))
