"""A real sshd, a web server and a storage directory for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import sshd
from tests.support.web import Web, running_web

__all__ = ["sshd"]


@pytest.fixture
def web() -> Iterator[Web]:
    with running_web() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The directory of a storage that was connected."""
    directory = tmp_path / "store"
    directory.mkdir()
    return directory
