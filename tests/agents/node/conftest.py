"""A real sshd and a storage directory for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.support.sshd import running_sshd
from tests.support.web import Web, running_web


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


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
