"""One process that forks all nodes of this directory's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.cluster.forked import nursery


@pytest.fixture(scope="session")
def forks() -> Iterator[str]:
    """Where to order a node."""
    with nursery() as path:
        yield path
