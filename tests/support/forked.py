"""Processes that the nursery forks: how to order one, what is known of it, and that its own workers are forked too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
from asyncio import subprocess as streams
from collections.abc import Mapping
from typing import Any

NURSERY = "ZCLOUD_TEST_NURSERY"
FORKED = ("projections.worker", "zcloud.api.call_worker")


def order(
    path: str, files: tuple[int, int, int], module: str, argv: list[str], environment: Mapping[str, str]
) -> tuple[int, socket.socket]:
    """A child's number, and the socket that will tell its status."""
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asking.connect(path)
    told = {
        "module": module,
        "argv": argv,
        "environment": {**environment, NURSERY: path},
        "directory": os.getcwd(),
    }
    socket.send_fds(asking, [json.dumps(told).encode()], list(files))
    return int(asking.recv(64)), asking


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
            with contextlib.suppress(ProcessLookupError):  # it has ended, and its status is on the way
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Worker:
    """As much of asyncio's Process as nodes use."""

    def __init__(self, pid: int, end: socket.socket, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self.returncode: int | None = None
        self._end = end
        end.setblocking(False)

    async def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(await asyncio.get_running_loop().sock_recv(self._end, 64) or b"-9")
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


_spawn = asyncio.create_subprocess_exec


async def _forked(program: str, *argv: str, **options: Any) -> Any:
    if argv[:1] != ("-m",) or argv[1] not in FORKED:
        return await _spawn(program, *argv, **options)
    assert options["stdin"] == options["stdout"] == streams.PIPE
    its_input, input_ = os.pipe()
    output, its_output = os.pipe()
    pid, end = order(os.environ[NURSERY], (its_input, its_output, 2), argv[1], list(argv[2:]), os.environ)
    os.close(its_input)
    os.close(its_output)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb", 0))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(input_, "wb", 0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    return Worker(pid, end, writer, reader)


def fork_workers() -> None:
    """In the child, before its main."""
    asyncio.create_subprocess_exec = _forked  # type: ignore[assignment]
