"""Agents that do not wait for long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.cluster.hosts import impatient


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    with impatient():
        yield
