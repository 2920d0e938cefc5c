"""Random commands against a plain model: the same cloud, read models that are the fold of the log."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import create_engine

from projections.projector import Projector
from projections.schema.registry import ReadModels
from tests.faults.harness.books import violations
from tests.faults.harness.cloud import Run
from tests.faults.harness.commands import Model
from tests.faults.harness.grounds import ground
from tests.faults.harness.lake import Handle
from tests.faults.harness.loop import run as run_loop
from tests.faults.harness.mutants import LATE_ROWS, mutated
from tests.support.tables import rows

pytestmark = pytest.mark.faults
COMMANDS = 20_000
PARTS = 4


class _Killed(Exception):
    """Of the one that writes the read models."""


def follow(projector: Projector, chance: random.Random) -> None:
    """As far as chance has it; now and then it is killed between its writes and begins anew."""
    with contextlib.suppress(_Killed):
        if chance.random() < 0.2:
            with mock.patch.object(type(projector._audit), "write", side_effect=_Killed):
                projector.advance(chance.randint(1, 60))
        else:
            projector.advance(chance.randint(1, 400))
        return
    projector.resume()


def opened(run: Run, path: Path) -> Projector:
    """Read models of a run's log in a file."""
    handle: Any = Handle(run.lake, lambda _moment: False)
    engine = create_engine(f"sqlite:///{path}")
    projector = Projector(handle, engine, ReadModels.of_api())
    projector.prepare()
    return projector


def commands(seed: int, count: int, directory: Path) -> tuple[Model, dict[str, list[Any]], dict[str, list[Any]]]:
    """So many commands; what came of them, the read models, and those that are filled anew."""
    base = ground("parts")
    run = Run(base, seed=seed)
    model = Model(run, random.Random(seed))
    projector = opened(run, directory / "live.db")

    async def live() -> None:
        await run.start_node()
        deadly = random.Random(seed + 1)
        run.gate = lambda _moment: deadly.random() < 0.002
        while model.number < count and not model.wrong:
            await model.step()
            if model.number % 50 == 0:
                follow(projector, model.chance)
            if model.number % 500 == 0:
                model.compare_all()
        run.gate = lambda _moment: False
        await run.quiet()
        model.compare_all()
        run.halt()

    run_loop(live())
    while projector.advance():
        pass
    fresh = opened(run, directory / "fresh.db")
    while fresh.advance(777):
        pass
    model.wrong += violations(run, calm=False)
    found = rows(projector.engine), rows(fresh.engine)
    projector.engine.dispose()
    fresh.engine.dispose()
    return model, *found


@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_as_the_model_has_it(part: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`make faults COMMANDS=1000000` takes so many."""
    caplog.set_level(logging.CRITICAL)
    model, live, fresh = commands(part, int(os.environ.get("COMMANDS") or COMMANDS) // PARTS, tmp_path)
    assert model.wrong == [], f"seed {part}"
    assert live == fresh
    assert len(live["zone"]) == len(model.run.lake.fold.all("zone"))
    assert model.refused > 200, "too little traffic"
    assert model.run.kills > 5, "too few kills"
    assert len(model.run.lake.records) > model.number, "too little traffic"


def test_a_position_written_before_its_rows_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    ground("parts")
    with mutated(LATE_ROWS):
        _, live, _ = commands(1, 1000, tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    _, _, right = commands(1, 1000, again)
    assert live != right
