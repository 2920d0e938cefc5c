"""Writes the log of calls in batches, so that answering a call costs no more than noting it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from pathlib import Path

import msgspec

from agents.runtime.children import begin, ended, kill
from projections.call_log import CallLog
from projections.call_log_import import take_over
from zcloud.api.call_record import Told, complete
from zcloud.kernel.errors import Refused
from zcloud.kernel.keep import Turns, keeper
from zcloud.kernel.log import unavailable

log = logging.getLogger(__name__)
# Calls that wait to be written; beyond that they are counted only.
WAITING = 20_000
BATCH = 1_000
GATHER_SECONDS = 0.5
RETRY_SECONDS = 1.0
# How the process that writes begins a line that says that the store is away.
AWAY = "away "


class CallWriter(ABC):
    """Takes calls in the event loop; lost counts those that could not be kept since that was last said."""

    def __init__(self) -> None:
        self.lost = 0
        self._waiting: list[Told] = []
        self._added = 0
        self._written = 0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._flushing: list[tuple[int, asyncio.Future[None]]] = []
        self._away = False
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _write(self, batch: list[Told]) -> None:
        """Returns when they are in the log. Raises Refused while its store is away: they are given again."""

    async def start(self) -> None:
        """Begin to write."""
        self._task = keeper(self._run, "call-log")

    def add(self, told: Told) -> None:
        """Keep a call; never waits."""
        if len(self._waiting) >= WAITING:
            self.lost += 1
            return
        self._waiting.append(told)
        self._added += 1
        if len(self._waiting) == 1:
            self._wake.set()

    async def flush(self) -> None:
        """Returns when everything that was added before is in the log, or its store turns out to be away."""
        if self._written < self._added:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._flushing.append((self._added, done))
            self._hurry.set()
            await done

    async def close(self) -> None:
        """Write what waits, and stop."""
        if self._task is not None:
            await self.flush()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            if self._waiting:
                log.error("%d calls could not be kept", len(self._waiting))

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                await self._wake.wait()
            # Answering calls comes first: those of a moment are written together.
            await self._pause(GATHER_SECONDS)
            self._wake.clear()
            while self._waiting:
                batch = self._waiting[:BATCH]
                try:
                    await self._write(batch)
                    self._away = False
                except Refused as refused:
                    if not self._away:
                        log.warning("calls wait to be kept: %s", refused.message)
                    self._away = True
                    self._tell(self._added)  # whoever waits reads what there is, or hears that it is away
                    await self._pause(RETRY_SECONDS)
                    continue
                except Exception:
                    log.exception("%d calls could not be kept", len(batch))
                    self.lost += len(batch)
                del self._waiting[: len(batch)]
                self._written += len(batch)
                self._tell(self._written)

    async def _pause(self, seconds: float) -> None:
        """Shorter when somebody waits."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        self._hurry.clear()

    def _tell(self, written: int) -> None:
        for upto, done in self._flushing:
            if upto <= written and not done.done():
                done.set_result(None)
        self._flushing = [f for f in self._flushing if not f[1].done()]


class ThreadWriter(CallWriter):
    """In this process: for tests and small tools."""

    def __init__(self, calls: CallLog, directory: Path, store: str, node: str) -> None:
        super().__init__()
        self._calls = calls
        self._directory = directory
        self._store = store
        self._node = node

    async def start(self) -> None:
        if self._store:
            await asyncio.to_thread(take_over, self._directory, self._calls, self._node)
        await super().start()

    async def _write(self, batch: list[Told]) -> None:
        await asyncio.to_thread(lambda: self._calls.write([complete(told, self._node) for told in batch]))


class ProcessWriter(CallWriter):
    """In a process of its own; one that died is started again, and gets its batch again."""

    def __init__(self, directory: Path, store: str, node: str) -> None:
        super().__init__()
        self._arguments = ["--data", str(directory), "--store", store, "--node", node]
        self._worker: asyncio.subprocess.Process | None = None
        self._turns = Turns("call-log")
        self._until = 0.0

    async def _begin(self) -> asyncio.subprocess.Process:
        try:
            return await begin("zcloud.api.call_worker", *self._arguments)
        except OSError as error:  # the machine is out of processes, memory or files
            raise unavailable(f"the process that writes the log of calls can't be started: {error}") from error

    async def _write(self, batch: list[Told]) -> None:
        if asyncio.get_running_loop().time() < self._until:
            raise unavailable("the process that writes the log of calls ends at once; it is begun again later")
        data = msgspec.msgpack.encode(batch)
        for _ in range(2):
            worker = self._worker = self._worker or await self._begin()
            try:
                line = await _asked(worker, data)
                lost = 0 if line.startswith(AWAY) or not line else int(line)
            except Exception:
                # What it will say to this batch must not be taken for what it says to the next one.
                kill(worker)
                self._worker = None
                raise
            if line.startswith(AWAY):
                raise unavailable(line.removeprefix(AWAY))
            if line:
                self.lost += lost
                self._turns = Turns("call-log")
                return
            self._worker = None
            if self._turns.broke(f"it ended with {await ended(worker)}"):
                log.error("the process that writes the log of calls ended with %s", worker.returncode)
        self._until = asyncio.get_running_loop().time() + self._turns.pause()
        raise unavailable("the process that writes the log of calls ends at once")

    async def close(self) -> None:
        await super().close()
        if self._worker is not None:
            assert self._worker.stdin is not None
            self._worker.stdin.close()
            await ended(self._worker)


async def _asked(worker: asyncio.subprocess.Process, data: bytes) -> str:
    """Its answer to a batch; empty when it died before it had given one."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    with contextlib.suppress(ConnectionError):
        if not worker.stdin.is_closing():  # writing to what is closed is another error in each event loop
            worker.stdin.write(len(data).to_bytes(4, "big") + data)
            await worker.stdin.drain()
    line = await worker.stdout.readline()
    return line.decode(errors="replace") if line.endswith(b"\n") else ""
