"""The log in this process: group commit by one writer thread, and waking of whoever follows."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable

from eventsourcing.persistence import IntegrityError, PersistenceError

from zcloud.kernel import failpoint
from zcloud.kernel.errors import Code, Conflict, Reason, Refused
from zcloud.kernel.record import Append, Record
from zcloud.kernel.recorder import RequestTaken, SqliteRecorder

log = logging.getLogger(__name__)
LARGEST_BATCH = 500


class Log:
    """Hands decisions to the writer in order, and answers each when its batch is durable.

    A decision may rest on one that is not durable yet. When that one fails, so does every later one that
    rests on it: the writer remembers at which version a stream failed until it is written rightly.
    """

    def __init__(self, recorder: SqliteRecorder) -> None:
        self.recorder = recorder
        self.head = recorder.head()
        self._queue: deque[tuple[Append, asyncio.Future[list[Record]]]] = deque()
        self._ready = threading.Condition()
        self._failed: dict[str, int] = {}
        self._closing = False
        self._listeners: list[Callable[[list[Record]], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- life

    def start(self) -> None:
        """Begin to write; call it in the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what was submitted, then stop."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if self._thread is not None:
            self._thread.join()

    def listen(self, listener: Callable[[list[Record]], None]) -> None:
        """Call it in the event loop with each committed batch, in order."""
        self._listeners.append(listener)

    # -- writing

    def submit(self, append: Append) -> asyncio.Future[list[Record]]:
        """Queue a decision; the future gives its records with positions, or Conflict, or RequestTaken."""
        assert self._loop is not None, "the log was not started"
        future: asyncio.Future[list[Record]] = self._loop.create_future()
        with self._ready:
            if self._closing:
                future.set_exception(unavailable("the server is stopping"))
            else:
                self._queue.append((append, future))
                self._ready.notify()
        return future

    def _write(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._closing:
                    self._ready.wait()
                if not self._queue:
                    return
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST_BATCH))]
            results = self._commit([append for append, _ in batch])
            assert self._loop is not None
            futures = [future for _, future in batch]
            self._loop.call_soon_threadsafe(self._answer, futures, results)

    def _commit(self, batch: list[Append]) -> list[list[Record] | Exception]:
        """Write one batch; never raises. A decision that rests on a failed one fails before it is tried."""
        results: dict[int, list[Record] | Exception] = {}
        run: list[int] = []

        def flush() -> None:
            if run:
                outcome = self._try([batch[i] for i in run])
                for i, result in zip(run, outcome, strict=True):
                    results[i] = result
                    self._remember(batch[i], result)
                run.clear()

        for i, append in enumerate(batch):
            if any(self._rests_on_failed(s, v) for s, v in (*append.bases.items(), *append.guards.items())):
                flush()
                results[i] = Conflict("an earlier change of the same resource failed")
                self._remember(append, results[i])
            else:
                run.append(i)
        flush()
        return [results[i] for i in range(len(batch))]

    def _rests_on_failed(self, stream: str, version: int) -> bool:
        failed = self._failed.get(stream)
        return failed is not None and version >= failed

    def _remember(self, append: Append, result: list[Record] | Exception) -> None:
        for stream, base in append.bases.items():
            if isinstance(result, Exception):
                self._failed[stream] = min(self._failed.get(stream, base + 1), base + 1)
            else:
                self._failed.pop(stream, None)

    def _try(self, appends: list[Append]) -> list[list[Record] | Exception]:
        failpoint.hit("commit.before")
        try:
            outcome = self.recorder.append_batch(appends)
        except (PersistenceError, OSError) as error:
            return [unavailable(f"the log could not be written: {error}") for _ in appends]
        except Exception as error:  # a fault of ours must not end the writer, nor leave callers waiting
            log.exception("a batch could not be written")
            return [unavailable(f"the log could not be written: {type(error).__name__}") for _ in appends]
        failpoint.hit("commit.after")
        return [Conflict(str(r)) if isinstance(r, IntegrityError) else r for r in outcome]

    def _answer(self, futures: list[asyncio.Future[list[Record]]], results: list[list[Record] | Exception]) -> None:
        written: list[Record] = []
        for result in results:
            if not isinstance(result, Exception):
                written.extend(result)
        if written:
            self.head = written[-1].position
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if written:
            for listener in self._listeners:
                listener(written)


def unavailable(message: str) -> Refused:
    """The store does not answer; the same request may be tried again."""
    return Refused(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, message)


__all__ = ["Log", "RequestTaken", "unavailable"]
