"""Keeps the read models at the heels of the log, and lets queries wait for a position."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from agents.runtime.children import begin, ended, kill
from projections.projector import Overtaken, Projector
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.keep import BrokeOff, keeper, tell
from zcloud.kernel.log import Log

log = logging.getLogger(__name__)
T = TypeVar("T")
RETRY_SECONDS = 1.0
TELL_SECONDS = 0.02
# A worker that lives says so every five seconds. After so many times without a word it stands still; more than one, for
# a node that itself stood still has not heard what lies there to be read.
QUIET_SECONDS, QUIET_TIMES = 15.0, 4


class FellBack(Refused):
    """The tables lost a moment that had been in them; they are filled again."""

    def __init__(self, position: int) -> None:
        text = f"the read models lost what is past position {position}; they are filled again"
        super().__init__(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, text)


class Follower(ABC):
    """What queries see of whoever fills the read models."""

    def __init__(self, source: Log, writes: Callable[[], bool] = lambda: True) -> None:
        """writes: whether it is this node, of several, that fills them now."""
        self.position = 0
        self._writes = writes
        self.listeners: list[Callable[[int], None]] = []
        self._log = source
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    async def start(self) -> None:
        """Prepare the tables and begin to follow."""

    @abstractmethod
    async def close(self) -> None:
        """Stop; what was not folded yet is folded at the next start."""

    async def reached(self, position: int) -> None:
        """Return when everything up to a position is in the read models."""
        if self.position < position:
            self._hurry()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((position, future))
            await future

    async def read(self, ask: Callable[[], T]) -> T:
        """What is asked of the read models in a thread, when all that any node had answered is in them.

        Again when the server was started again since the last question: the connection that was idle is lost, and
        what a new one finds may be less than there was.
        """
        tries = 3
        while True:
            await self.caught_up()
            tries -= 1
            try:
                return await asyncio.to_thread(ask)
            except Refused as refused:
                if refused.reason != Reason.STORE_UNAVAILABLE or not tries:
                    raise

    async def caught_up(self) -> None:
        """Return when everything that any node had answered is in the read models."""
        await self.reached(await self._log.newest())

    def found(self, position: int) -> None:
        """How far the tables are, as a new connection has it, in any thread. Raises Refused when they fell back."""
        if position < self.position and self._loop is not None:
            self._loop.call_soon_threadsafe(self._fall_back, position)
            raise FellBack(position)

    def _fall_back(self, position: int) -> None:
        self.position = min(self.position, position)
        self._look_again()

    def _look_again(self) -> None:  # noqa: B027 - as above
        """What whoever writes remembers may be more than there is."""

    def _hurry(self) -> None:  # noqa: B027 - who is never slow need not do anything
        """Somebody waits."""

    def _at(self, position: int) -> None:
        self.position = position
        for wanted, future in self._waiting:
            if wanted <= position and not future.done():
                future.set_result(None)
        self._waiting = [w for w in self._waiting if not w[1].done()]
        tell(self.listeners, position)


class ThreadFollower(Follower):
    """In a thread of this process: for tests and small tools."""

    def __init__(self, source: Log, projector: Projector, writes: Callable[[], bool] = lambda: True) -> None:
        super().__init__(source, writes)
        self.projector = projector
        self._wake = asyncio.Event()
        self._doubted = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="follower")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._thread, self.projector.prepare)
        self._at(self.projector.position)
        self._log.listen(lambda _: self._wake.set())
        self._task = keeper(self._follow, "follower")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    def _look_again(self) -> None:
        self._doubted = True
        self._wake.set()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            try:
                if self._doubted:
                    await loop.run_in_executor(self._thread, self.projector.resume)
                    self._doubted = False
                if self._writes():
                    more = await loop.run_in_executor(self._thread, self.projector.advance)
                else:
                    more = await loop.run_in_executor(self._thread, self.projector.watch, self._log.head)
            except Exception as error:
                if isinstance(error, Refused):
                    log.warning("the read models are written later: %s", error.message)
                elif isinstance(error, Overtaken):
                    log.info("%s", error)  # it goes on from where the other one is
                else:
                    log.exception("the read models could not be written; trying again")
                await asyncio.sleep(RETRY_SECONDS)
                with contextlib.suppress(Exception):  # as long as the store is away
                    await loop.run_in_executor(self._thread, self.projector.resume)
                continue
            self._at(self.projector.position)
            if not more:
                await self._wake.wait()


class ProcessFollower(Follower):
    """In a process of its own, on a core of its own: folding must not take the interpreter from those who decide.

    It is told how far the log is, and whether to write, by a line on its standard input, and says how far it is on its
    standard output. When it dies, or stands still, it is started again; when this process dies its input ends, and so
    does it.
    """

    def __init__(self, source: Log, directory: Path, store: str, writes: Callable[[], bool] = lambda: True) -> None:
        super().__init__(source, writes)
        self._arguments = ["--data", str(directory), "--store", store]
        self._worker: asyncio.subprocess.Process | None = None
        self._told = (-1, False)
        self._telling: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = self._loop.create_future()
        self._log.listen(lambda _: self._tell_soon())
        self._task = keeper(lambda: self._serve(ready), "follower", RETRY_SECONDS)
        await ready

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._worker is not None and self._worker.returncode is None:
            assert self._worker.stdin is not None
            self._worker.stdin.close()
            await ended(self._worker)

    def _hurry(self) -> None:
        self._tell()

    def _look_again(self) -> None:
        """A worker that is told of nothing new looks at where the tables are."""
        self._told = (-1, False)
        self._tell()

    def _tell_soon(self) -> None:
        """A word for each batch would make the worker read and write more often than it must."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        worker = self._worker
        word = (self._log.head, self._writes())
        if worker is None or worker.stdin is None or worker.stdin.is_closing() or word == self._told:
            return
        # A worker that is busy reads all that gathered at once; each line is the newest word.
        if worker.stdin.transport.get_write_buffer_size() < 4096:
            self._told = word
            worker.stdin.write(b"%d %d\n" % word)

    async def _serve(self, ready: asyncio.Future[None]) -> None:
        """One process, until it is gone."""
        worker = self._worker = await begin("projections.worker", *self._arguments)
        try:
            served = await self._hear(worker, ready)
        except Exception:
            kill(worker)  # another one takes its place
            raise
        status = await ended(worker)
        raise BrokeOff(f"the process that fills the read models ended with {status}", served=served)

    async def _hear(self, worker: asyncio.subprocess.Process, ready: asyncio.Future[None]) -> bool:
        """Until it is gone; whether it served. A line that it could not end is none: half a number is another one."""
        self._told = (-1, False)
        self._tell()
        assert worker.stdout is not None
        served = False
        spoke = False
        while (line := await self._line(worker.stdout, spoke=spoke, served=served)).endswith(b"\n"):
            spoke = True
            if line == b"\n":
                continue
            self._at(int(line))
            self._tell()
            served = True
            if not ready.done():
                ready.set_result(None)
        return served

    @staticmethod
    async def _line(words: asyncio.StreamReader, *, spoke: bool, served: bool) -> bytes:
        """What it says next. Raises BrokeOff when it stands still: then it has not died, and serves nobody."""
        for _ in range(QUIET_TIMES):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS if spoke else None):  # it takes its time to begin
                    return await words.readline()
        silence = f"the process that fills the read models said nothing for {QUIET_TIMES * QUIET_SECONDS:.0f} s"
        raise BrokeOff(silence, served=served)
