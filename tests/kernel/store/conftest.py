"""Stores to test: one of each kind, or PostgreSQL's own address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zcloud.kernel.store import Store, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same store, as often as asked."""
    address = request.getfixturevalue("postgres").database() if request.param == "postgresql" else ""
    opened: list[Store] = []

    def again() -> Store:
        opened.append(open_store(tmp_path, address))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


@pytest.fixture
def store(open_again: Callable[[], Store]) -> Store:
    """A new store of each kind."""
    return open_again()
