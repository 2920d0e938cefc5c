"""What the tests of a host's networks share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.network.lan import Lan, new_lan


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    with new_lan(tmp_path) as made:
        yield made
