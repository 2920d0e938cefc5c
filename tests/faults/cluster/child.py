"""What is different in a forked node: its workers are forked too, and it notes by which leases it wrote what."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.cluster.mutants import NODES
from tests.faults.cluster.nursery import order
from zcloud.kernel.record import Append
from zcloud.kernel.store.postgres import PostgresRecorder

NURSERY = "ZCLOUD_TEST_NURSERY"
FORKED = ("projections.worker", "zcloud.api.call_worker")
NOTES = "fences"


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
    assert options["stdin"] == options["stdout"] == subprocess.PIPE
    its_input, input_ = os.pipe()
    output, its_output = os.pipe()
    mutant = os.environ.get("ZCLOUD_TEST_MUTANT", "")
    pid, end = order(os.environ[NURSERY], (its_input, its_output, 2), argv[1], list(argv[2:]), mutant)
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


_append = PostgresRecorder.append_batch


def _noting(notes: int) -> Any:
    def append_batch(self: PostgresRecorder, appends: Sequence[Append]) -> Any:
        outcomes = _append(self, appends)
        lines = [
            f"{outcome[0].position} {append.fence[0]} {append.fence[1]}\n"
            for append, outcome in zip(appends, outcomes, strict=True)
            if append.fence is not None and isinstance(outcome, list) and outcome
        ]
        if lines:
            os.write(notes, "".join(lines).encode())
        return outcomes

    return append_batch


def begin(argv: list[str], mutant: str) -> None:
    """In the child, before its main."""
    if mutant:
        os.environ["ZCLOUD_TEST_MUTANT"] = mutant
        NODES[mutant][1]().__enter__()
    asyncio.create_subprocess_exec = _forked  # type: ignore[assignment]
    if argv[:1] == ["serve"]:
        notes = Path(argv[argv.index("--data") + 1]) / NOTES
        notes.parent.mkdir(exist_ok=True)
        file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        PostgresRecorder.append_batch = _noting(file)  # type: ignore[method-assign]
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
