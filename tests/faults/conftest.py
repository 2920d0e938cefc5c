"""How much is tried: `make faults SEEDS=100000`."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def seeds() -> int:
    """As many as were asked for; 0 for what the suite takes."""
    return int(os.environ.get("SEEDS") or 0)
