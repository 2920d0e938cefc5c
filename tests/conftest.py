"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import called
from tests.support.cloud import ServerProcess, running_server
from tests.support.postgres import PostgresCluster
from zcloud.kernel import failpoint, memory

# How long an example takes says how busy the machine is, and nothing about what is tested. Examples are the same in
# each run of the suite; whoever asks for SEEDS is given others.
settings.register_profile(
    "busy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not os.environ.get("SEEDS"),
)
settings.load_profile("busy")
UNSEEN = pytest.StashKey[list[str]]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What uses the machine itself, its bridges and its libvirt, is run by one process, one after the other."""
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def is_real(path: str) -> bool:
        return "pytest.mark.real" in (config.rootpath / path).read_text()

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "the machine" if is_real(nodeid.partition("::")[0]) else nodeid

    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: the garbage collector need not go through all of it every second."""
    memory.settle()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Some tests are not run, whatever it was that chose."""
    if items:
        called.leave_out("tests were deselected")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """A process of xdist has ended, and says which RPCs its tests have seen."""
    called.add(None if error else getattr(node, "workeroutput", {}).get("called"))


# Each of them leaves out files before anybody is asked.
CHOOSING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run of all tests that has gone well fails where an RPC was granted to no test, or refused to none."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["called"] = called.seen()
        return
    chosen = any(getattr(config.option, name, None) for name in CHOOSING)
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not chosen
    if everything and exitstatus == pytest.ExitCode.OK and not session.shouldstop:
        config.stash[UNSEEN] = called.missing()
        if config.stash[UNSEEN]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What no test has seen."""
    for line in config.stash.get(UNSEEN, []):
        terminalreporter.write_line(f"FAILED {line}, by any test (tests/support/called.py)", red=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that only need one; a test that stops it starts one of its own."""
    with running_server(tmp_path_factory.mktemp("server") / "data") as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """One PostgreSQL for all tests; each asks it for a database of its own."""
    made = PostgresCluster()
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _no_failpoints() -> Iterator[None]:
    """What a test armed, the next does not meet."""
    yield
    failpoint.disarm()
