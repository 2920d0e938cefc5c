"""Every step done twice, every undo twice, and agents that die in the middle: all ends well."""

from __future__ import annotations

import logging

import pytest

from agents.runtime.dispatch import FAILPOINTS
from tests.faults.harness.boundary import live
from tests.faults.harness.explore import difference, faults_of
from tests.faults.harness.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.faults
WITH_TASKS = [s for s in SCENARIOS if s.name != "detach_nics"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_done_twice(scenario: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    plain = live(scenario)
    for fault in faults_of(plain):
        once, twice = live(scenario, fault), live(scenario, fault, twice=True)
        assert twice.wrong == [], fault
        assert once.picture == twice.picture, (fault, difference(twice.picture, once.picture))


@pytest.mark.parametrize("place", FAILPOINTS)
@pytest.mark.parametrize("scenario", WITH_TASKS, ids=lambda s: s.name)
def test_an_agent_dies(scenario: Scenario, place: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    # Its host is Disconnected for a moment, so that the job may fail; but then it is undone.
    assert live(scenario, dies_at=place).wrong == []
