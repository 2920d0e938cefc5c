"""A private sshd for a test: started on a free port, stopped whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.support.ports import free_port
from zcloud.v1.host_task_pb2 import SshTarget


@contextlib.contextmanager
def running_sshd(directory: Path) -> Iterator[PrivateSshd]:
    server = PrivateSshd(directory, free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


def target_of(server: PrivateSshd, **changes: object) -> SshTarget:
    """How a task names this server; the key is accepted as on first use unless a pinned one is given."""
    target = SshTarget(hostname="127.0.0.1", port=server.port, username="root", private_key=server.client_key)
    for field, value in changes.items():
        setattr(target, field, value)
    return target


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSshd]:
    """One server for all tests; a test that stops it starts one of its own."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
