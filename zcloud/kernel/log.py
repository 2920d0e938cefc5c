"""The log in this process: group commit by one writer thread, and waking of whoever follows."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from eventsourcing.persistence import IntegrityError, PersistenceError

from zcloud.kernel import failpoint
from zcloud.kernel.errors import Code, Conflict, Reason, Refused
from zcloud.kernel.keep import tell
from zcloud.kernel.record import Append, Record
from zcloud.kernel.store import RequestTaken, Store

log = logging.getLogger(__name__)
LARGEST_BATCH = 500
CATCH_UP_SECONDS = 1.0
# With so many waiting, callers or jobs, a batch is let grow for so long: a commit costs the same for one and for a
# hundred, and each takes the interpreter away from those who decide.
CROWD = 16
GATHER_SECONDS = 0.002
# How often the store is asked for what other nodes wrote: while there are others, and in case that one comes.
FOLLOW_SECONDS = 0.015
ALONE_SECONDS = 0.5


class Log:
    """Hands decisions to the writer in order, and answers each when its batch is durable.

    A decision may rest on one that is not durable yet. When that one fails, so does every later one that
    rests on it: the writer remembers at which version a stream failed, until those who decide have been told.
    """

    def __init__(self, recorder: Store) -> None:
        self.recorder = recorder
        self.head = recorder.head()
        self._queue: deque[tuple[Append, asyncio.Future[list[Record]], int]] = deque()
        self._ready = threading.Condition()
        self._submitted = 0
        # Stream -> the version that failed, and the newest submission that failed there.
        self._failed: dict[str, tuple[int, int]] = {}
        # Stream -> the newest failure that was told, and the last submission that may not have known of it.
        self._told: dict[str, tuple[int, int]] = {}
        self._closing = False
        self._listeners: list[Callable[[list[Record]], None]] = []
        self._mourners: list[Callable[[Append, Exception], None]] = []
        self._movers: list[Callable[[Append, list[Record]], None]] = []
        self._awaited: list[tuple[int, asyncio.Future[None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._follower: threading.Thread | None = None
        self._done = threading.Event()
        # How many wait for what will be written.
        self.crowd: Callable[[], int] = lambda: 0
        # Whether other nodes are alive, which write too.
        self.together: Callable[[], bool] = lambda: False

    # -- life

    def start(self) -> None:
        """Begin to write; call it in the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()
        if self.recorder.shared:
            self._follower = threading.Thread(target=self._follow, name="log-follower", daemon=True)
            self._follower.start()

    def close(self) -> None:
        """Write what was submitted, then stop."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._done.set()
        for thread in (self._thread, self._follower):
            if thread is not None:
                thread.join()

    def listen(self, listener: Callable[[list[Record]], None]) -> None:
        """Call it in the event loop with each committed batch, in order."""
        self._listeners.append(listener)

    def on_failure(self, mourner: Callable[[Append, Exception], None]) -> None:
        """Call it in the event loop with each decision that was not written, before anybody decides again."""
        self._mourners.append(mourner)

    def on_moved(self, mover: Callable[[Append, list[Record]], None]) -> None:
        """Call it in the event loop with each decision that the store wrote with another time than was given."""
        self._movers.append(mover)

    # -- writing

    def submit(self, append: Append) -> asyncio.Future[list[Record]]:
        """Queue a decision; the future gives its records with positions, or Conflict, or RequestTaken."""
        assert self._loop is not None, "the log was not started"
        future: asyncio.Future[list[Record]] = self._loop.create_future()
        with self._ready:
            if not self._closing:
                self._submitted += 1
                self._queue.append((append, future, self._submitted))
                if len(self._queue) == 1:
                    self._ready.notify()
                return future
        refusal = unavailable("the server is stopping")
        self._mourn(append, refusal)
        future.set_exception(refusal)
        return future

    def _write(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._closing:
                    self._ready.wait()
                if not self._queue:
                    return
            if self._crowded():
                time.sleep(GATHER_SECONDS)
            with self._ready:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST_BATCH))]
            results = self._commit([(append, number) for append, _, number in batch])
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._answer, batch, results)

    def _crowded(self) -> bool:
        try:
            return self.crowd() >= CROWD
        except Exception:  # it is counted in another thread; the writer must not end by it
            log.exception("who waits for the log could not be counted")
            return False

    def _commit(self, batch: list[tuple[Append, int]]) -> list[list[Record] | Exception]:
        """Write one batch; never raises. A decision that rests on a failed one fails before it is tried."""
        results: dict[int, list[Record] | Exception] = {}
        run: list[int] = []

        def flush() -> None:
            if run:
                outcome = self._try([batch[i][0] for i in run])
                for i, result in zip(run, outcome, strict=True):
                    results[i] = result
                    self._remember(*batch[i], result)
                run.clear()

        for i, (append, number) in enumerate(batch):
            if any(self._rests_on_failed(s, v, number) for s, v in (*append.bases.items(), *append.guards.items())):
                results[i] = Conflict("an earlier change of the same resource failed")
                self._remember(append, number, results[i])
            else:
                run.append(i)
        flush()
        return [results[i] for i in range(len(batch))]

    def _rests_on_failed(self, stream: str, version: int, number: int) -> bool:
        failed = self._failed.get(stream)
        if failed is None:
            return False
        told, last = self._told.get(stream, (0, 0))
        if told >= failed[1] and number > last:
            # It was decided on what is in the log: that stream's failures are over.
            del self._failed[stream]
            return False
        return version >= failed[0]

    def _remember(self, append: Append, number: int, result: list[Record] | Exception) -> None:
        for stream, base in append.bases.items():
            if isinstance(result, Exception):
                before = self._failed.get(stream, (base + 1, 0))
                self._failed[stream] = (min(before[0], base + 1), number)
            else:
                self._failed.pop(stream, None)

    def _try(self, appends: list[Append]) -> list[list[Record] | Exception]:
        try:
            failpoint.hit("commit.before")
            outcome = self.recorder.append_batch(appends)
            failpoint.hit("commit.after")
            if len(outcome) != len(appends):
                raise AssertionError(f"{len(outcome)} outcomes of {len(appends)} decisions")
        except Exception as error:  # whatever it was, the writer lives on, and nobody waits for ever
            if not isinstance(error, (PersistenceError, OSError)):
                log.exception("the log's writer met something unforeseen")
            return [unavailable(f"the log could not be written: {error}") for _ in appends]
        return [Conflict(str(r)) if isinstance(r, IntegrityError) else r for r in outcome]

    def _answer(
        self, batch: list[tuple[Append, asyncio.Future[list[Record]], int]], results: list[list[Record] | Exception]
    ) -> None:
        written: list[Record] = []
        for (append, _, number), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self._mourn(append, result)
                self._told.update(dict.fromkeys(append.bases, (number, self._submitted)))
            else:
                written.extend(result)
                if result and result[0].time != append.records[0].time:
                    tell(self._movers, append, result)
        for (_, future, _), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if written:
            self._publish(written)
        if any(isinstance(result, Refused) for result in results):
            self._catch_up_later()  # it may have been written all the same

    def _publish(self, written: list[Record]) -> None:
        """Tell all that listen, in order and without a gap.

        What lies between this node's own records is of other nodes, or its own whose commit was not answered.
        """
        try:
            records: list[Record] = []
            before = self.head
            for record in written:
                if record.position <= before:
                    continue  # read from the store already
                if record.position > before + 1:
                    records += self.recorder.read_all(before, record.position - before - 1)
                records.append(record)
                before = record.position
        except Refused as refused:
            log.warning("the log is read again in a moment: %s", refused.message)
            self._catch_up_later()
            return
        except Exception:
            log.exception("the log could not be read; again in a moment")
            self._catch_up_later()
            return
        self.head = before
        if records:
            tell(self._listeners, records)
        for position, future in self._awaited:
            if position <= before and not future.done():
                future.set_result(None)
        if self._awaited:
            self._awaited = [wanted for wanted in self._awaited if not wanted[1].done()]

    def _follow(self) -> None:
        """Read what other nodes write. This one's own is told by the writer, so what is new is looked at twice."""
        assert self._loop is not None
        seen = 0
        while not self._done.wait(FOLLOW_SECONDS if self.together() else ALONE_SECONDS):
            try:
                head = self.recorder.head()
                if self.head < seen:
                    found = self.recorder.read_all(self.head, LARGEST_BATCH)
                    if found and not self._done.is_set():
                        self._loop.call_soon_threadsafe(self._publish, found)
                seen = head
            except Refused as refused:
                log.warning("other nodes' records are read later: %s", refused.message)
                self._done.wait(CATCH_UP_SECONDS)
            except Exception:
                log.exception("other nodes' records could not be read")
                self._done.wait(CATCH_UP_SECONDS)

    async def newest(self) -> int:
        """The position of all that was answered by any node before now; returns when this node knows it."""
        if not self.together():
            return self.head
        position = await asyncio.to_thread(self.recorder.head)
        await self.reached(position)
        return position

    async def reached(self, position: int) -> None:
        """Return when this node has heard of everything up to a position."""
        if self.head < position:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited.append((position, future))
            await future

    def _catch_up(self) -> None:
        """Publish what is in the log and was not."""
        if self._closing:
            return
        try:
            found = self.recorder.read_all(self.head, LARGEST_BATCH)
        except Refused:
            self._catch_up_later()
            return
        except Exception:
            log.exception("the log could not be read; again in a moment")
            self._catch_up_later()
            return
        if found:
            self._publish(found)
            self._catch_up()

    def _catch_up_later(self) -> None:
        assert self._loop is not None
        self._loop.call_later(CATCH_UP_SECONDS, self._catch_up)

    def _mourn(self, append: Append, error: Exception) -> None:
        tell(self._mourners, append, error)


def unavailable(message: str) -> Refused:
    """The store does not answer; the same request may be tried again."""
    return Refused(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, message)


__all__ = ["Log", "RequestTaken", "unavailable"]
