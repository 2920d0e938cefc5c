"""Bad weather between the node and its agents, 1,500 times; more by `make faults SEEDS=100000`."""

from __future__ import annotations

import logging

import pytest

from tests.faults.harness.storm import Log, storm

pytestmark = pytest.mark.faults
SEEDS = 1500
PARTS = 12


@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_bad_weather(part: int, seeds: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    runs: list[Log] = [storm(seed) for seed in range(part, seeds or SEEDS, PARTS)]
    assert [f"seed {run.seed}: {run}" for run in runs if run.wrong] == []
    assert sum(run.tasks for run in runs) > 10 * len(runs)
    assert sum(run.crashes + run.kills for run in runs) > len(runs)
