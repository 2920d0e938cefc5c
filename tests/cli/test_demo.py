"""The parts of the machine that `make run` uses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.ports import free_port
from zcloud.cli.demo import machine

# What Linux gives to whoever dials somebody begins there; one of those would be taken now and then.
EPHEMERAL = 32768


def test_a_port_that_is_taken_is_passed_over_and_the_choice_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(machine.SSH_PORTS) < EPHEMERAL
    taken, free, other = sorted(free_port() for _ in range(3))
    monkeypatch.setattr(machine, "SSH_PORTS", (taken, free, other))
    kept = tmp_path / "data" / "ssh-port"
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", taken))
        assert machine._ssh_port(kept) == free
    assert machine._ssh_port(kept) == free
