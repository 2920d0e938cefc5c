"""One process that forks all nodes of this directory's tests, and agents that do not wait for long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.cluster.forked import nursery
from tests.faults.cluster.hosts import impatient


@pytest.fixture(scope="session")
def forks() -> Iterator[str]:
    """Where to order a node."""
    with nursery() as path:
        yield path


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    with impatient():
        yield
