"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cloud import ServerProcess, running_server
from tests.support.postgres import PostgresCluster
from zcloud.kernel import failpoint


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the machine itself, its bridges and its libvirt, is run by one process, one after the other."""
    for item in items:
        if item.get_closest_marker("real") is not None:
            item.add_marker(pytest.mark.xdist_group("machine"))


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
