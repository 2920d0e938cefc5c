"""The private sshd by its command line: started once, stopped without a trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agents.node.private_sshd import PrivateSshd, main
from tests.support.ports import free_port

pytestmark = pytest.mark.real


def test_start_twice_and_stop_twice(tmp_path: Path) -> None:
    server = PrivateSshd(tmp_path / "sshd", free_port())
    argv = [str(server.directory), str(server.port)]
    try:
        subprocess.run([sys.executable, "-m", "agents.node.private_sshd", "start", *argv], check=True)
        first = server.pid()
        assert first is not None
        assert main(["start", *argv]) == 0
        assert server.pid() == first
        key = server.host_key
        assert main(["stop", *argv]) == 0
        assert server.pid() is None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        assert main(["stop", *argv]) == 0
        server.start()
        assert server.host_key == key
    finally:
        server.stop()


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    first, second = PrivateSshd(tmp_path / "first", port), PrivateSshd(tmp_path / "second", port)
    try:
        first.start()
        assert main(["start", str(second.directory), str(port)]) == 1
        assert "Address already in use" in capsys.readouterr().err
        assert first.pid() is not None
    finally:
        first.stop()
        second.stop()


def test_one_that_ends_while_it_is_looked_at_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = PrivateSshd(tmp_path, 1)
    (tmp_path / "pid").write_text(str(os.getpid()))

    def ended(_: Path) -> bytes:
        raise ProcessLookupError

    monkeypatch.setattr(Path, "read_bytes", ended)
    assert server.pid() is None
    server.stop()
