"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.support.cloud import ServerProcess, running_server
from tests.support.postgres import PostgresCluster
from zcloud.kernel import failpoint


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
