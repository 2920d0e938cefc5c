"""A run of all tests tells which RPCs no test was granted, or refused, and a run of some tests claims nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.support import called
from zcloud.api.rpcs import rpcs

LAST = sorted(name for name in rpcs() if name not in called.APART)[-1]
NEVER = [f"{LAST} was never refused for what it was asked"]


@pytest.fixture(autouse=True)
def _all_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by a process of xdist, not by this one: all that there is to see, but one refusal."""
    monkeypatch.setattr(called, "_seen", {called.GRANTED: set(), called.REFUSED: set()})
    monkeypatch.setattr(called, "_left_out", set())
    for name in rpcs():
        called.note(name, "OK")
        called.note(name, "NOT_FOUND" if name != LAST else "UNAUTHENTICATED")
    told = called.seen()
    monkeypatch.setattr(called, "_seen", {called.GRANTED: set(), called.REFUSED: set()})
    ended(told)


def ended(told: dict[str, list[str]] | None, error: str = "") -> None:
    output = {} if told is None else {"called": told}
    conftest.pytest_testnodedown(SimpleNamespace(workeroutput=output), error)


def finish(exitstatus: int = 0, **changes: Any) -> tuple[int, list[str]]:
    """How a run ends, and what it names."""
    config = SimpleNamespace(
        option=SimpleNamespace(**dict.fromkeys(conftest.CHOOSING) | changes.pop("option", {})),
        args_source=changes.pop("args_source", pytest.Config.ArgsSource.TESTPATHS),
        stash=pytest.Stash(),
    )
    session: Any = SimpleNamespace(config=config, exitstatus=exitstatus, shouldstop=changes.pop("shouldstop", False))
    conftest.pytest_sessionfinish(session, exitstatus)
    return session.exitstatus, config.stash.get(conftest.UNSEEN, [])


def test_what_is_missing_fails_a_run_of_all_tests() -> None:
    assert finish() == (1, NEVER)
    called.note(LAST, "FAILED_PRECONDITION")
    assert finish() == (0, [])


def test_what_was_not_run_is_not_missing() -> None:
    assert finish(args_source=pytest.Config.ArgsSource.ARGS) == (0, [])
    assert finish(option={"keyword": "zone"}) == (0, [])
    assert finish(shouldstop="enough") == (0, [])
    assert finish(2) == (2, [])


@pytest.mark.parametrize(("told", "error"), [(None, ""), (None, "Not properly terminated"), ({}, "replaced")])
def test_what_a_lost_process_has_seen_is_not_missing(told: dict[str, list[str]] | None, error: str) -> None:
    ended(told, error)
    assert finish() == (0, [])


def test_what_was_deselected_by_a_process_of_xdist_is_not_missing() -> None:
    conftest.pytest_deselected([])
    assert finish() == (1, NEVER)
    conftest.pytest_deselected([SimpleNamespace()])  # type: ignore[list-item]
    told = called.seen()
    called._left_out.clear()
    ended(told)
    assert finish() == (0, [])
