"""Every workflow, killed at every commit, with each of its steps failing or cancelled: it ends well."""

from __future__ import annotations

import logging

import pytest

from tests.faults.harness.books import violations
from tests.faults.harness.explore import explore
from tests.faults.harness.grounds import GROUNDS, ground
from tests.faults.harness.scenarios import SCENARIOS, Scenario
from zcloud.kernel.workflow import workflows

pytestmark = pytest.mark.faults
# Of each workflow, the scenario that is tried in every way on every commit.
FIRST = {scenario.workflow: scenario for scenario in reversed(SCENARIOS)}


def test_every_workflow_has_a_scenario() -> None:
    """A workflow that is added without one is tested by nobody."""
    assert {name for name, _ in workflows() if not name.startswith("toy_")} == {s.workflow for s in SCENARIOS}


@pytest.mark.parametrize("name", [name for name in GROUNDS if name != "nothing"])
def test_what_runs_begin_with_is_sound(name: str) -> None:
    assert violations(ground(name)) == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_killed_at_every_commit(
    scenario: Scenario, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """With every fault too, once for each workflow; where other things are done by the same, with some of them, but for
    `make faults`, which leaves out none.
    """
    caplog.set_level(logging.CRITICAL)
    whole = FIRST[scenario.workflow] is scenario or request.config.option.markexpr == "faults"
    found = explore(scenario, every=1 if whole else 3)
    assert found.wrong == []
    assert found.runs >= 10 or scenario.workflow == "detach_vm_nics"
