"""Every test of this folder runs on each store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.support.cloud import Api, running_node

Cloud = Callable[[], AbstractAsyncContextManager[Api]]


@pytest.fixture(params=["sqlite", "postgresql"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Cloud:
    """Starts a node on the store, or starts it again on what it left there."""
    store = request.getfixturevalue("postgres").database() if request.param == "postgresql" else ""
    return lambda: running_node(tmp_path / "data", store)
