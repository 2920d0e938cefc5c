"""Nodes as processes that are forked, not started: `zcloud serve` within a tenth of a second."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.cluster.child import NURSERY
from tests.faults.cluster.nursery import order
from tests.support.cloud import ServerProcess


class Child:
    """As much of Popen as ServerProcess uses."""

    def __init__(self, pid: int, end: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = end

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("node", timeout or 0.0)
            self.returncode = int(self._end.recv(64) or b"-9")
            self._end.close()
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedServer(ServerProcess):
    """A node by the nursery. mutant: the mistake that it makes."""

    def __init__(self, nursery: str, directory: Path, arguments: tuple[str, ...], mutant: str = "") -> None:
        super().__init__(directory, arguments=arguments)
        self._nursery, self._mutant = nursery, mutant

    def _spawn(self, argv: list[str], output: Any, environment: dict[str, str]) -> Any:
        del environment
        with open(os.devnull, "rb") as nothing:
            files = nothing.fileno(), output.fileno(), output.fileno()
            # argv is: the interpreter, -m, the module, and what its main is given.
            pid, end = order(self._nursery, files, argv[2], argv[3:], self._mutant, **{NURSERY: self._nursery})
        return Child(pid, end)


@contextlib.contextmanager
def nursery() -> Iterator[str]:
    """Where to order; all that was forked is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="zcloud-nursery-", dir="/tmp"))
    path = str(directory / "door")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.cluster.nursery", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # whatever ends this process, the end of that one's input is what ends all nodes
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield path
    finally:
        process.communicate()
        shutil.rmtree(directory)
