"""The log of calls: a file beside the event log, written in batches by one thread, asked by the query language."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from google.protobuf.message import Message
from sqlalchemy import Engine, MetaData, create_engine, delete, event, func, inspect, select

from projections.model import ReadModel
from projections.schema.registry import ReadModels

log = logging.getLogger(__name__)
KIND = "operation_log"
BATCH = 500
# Calls that wait to be written; beyond that they are counted only.
WAITING = 20_000
FLUSH_SECONDS = 30.0
GATHER_SECONDS = 0.5
# The rows that one statement removes.
CHUNK = 5_000
# Makes the message of a call, and names who owns it.
Entry = Callable[[], tuple[Message, str]]


class CallLog:
    """Append-only. What removes old calls says so in the log itself."""

    def __init__(self, directory: Path, message_type: type[Message]) -> None:
        self.engine: Engine = create_engine(f"sqlite:///{directory / 'calls.db'}")
        event.listen(self.engine, "connect", _tune)
        self.model = ReadModel(message_type, indexes=("create_date", "session_uuid"), metadata=MetaData(), kind=KIND)
        self.models = ReadModels([self.model])
        # Calls that could not be kept since that was last said.
        self.lost = 0
        self._entries: queue.Queue[Entry | Future[None] | None] = queue.Queue(WAITING)
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._write, name="call-log", daemon=True)

    def start(self) -> None:
        """Make the tables and begin to write."""
        with self.engine.begin() as connection:
            if inspect(connection).has_table(self.model.table.name):
                have = {column["name"] for column in inspect(connection).get_columns(self.model.table.name)}
                if have != {column.name for column in self.model.table.columns}:
                    old = f"{self.model.table.name}_until_{len(have)}"
                    raise RuntimeError(f"calls.db is of another version; move it away to begin a new one ({old})")
            self.model.create(connection)
        self._thread.start()

    def close(self) -> None:
        """Write what waits."""
        if self._thread.is_alive():
            self._entries.put(None)
            self._hurry.set()
            self._thread.join()
        self.engine.dispose()

    def add(self, entry: Entry) -> None:
        """Keep a call; never waits."""
        try:
            self._entries.put_nowait(entry)
        except queue.Full:
            self.lost += 1

    def flush(self) -> None:
        """Return when everything that was added before is in the file; not for the thread that answers calls."""
        made: Future[None] = Future()
        self._entries.put(made, timeout=FLUSH_SECONDS)
        self._hurry.set()
        made.result(FLUSH_SECONDS)

    def remove(self, before: int, keep: int) -> int:
        """Remove what is older than a time, and all but the newest `keep`; gives how many."""
        table = self.model.table
        removed = 0
        with self.engine.begin() as connection:
            total = connection.execute(select(func.count()).select_from(table)).scalar_one()
            old = connection.execute(
                select(func.count()).select_from(table).where(table.c.create_date < before)
            ).scalar_one()
            left = max(old, total - keep, 0)
            while left > 0:
                oldest = select(table.c.uuid).order_by(table.c.create_date, table.c.uuid).limit(min(left, CHUNK))
                removed += connection.execute(delete(table).where(table.c.uuid.in_(oldest))).rowcount
                left -= CHUNK
        return removed

    def _write(self) -> None:
        while True:
            batch = [self._entries.get()]
            # Answering calls comes first: those of a moment are written together.
            self._hurry.wait(GATHER_SECONDS)
            self._hurry.clear()
            while len(batch) < BATCH and not self._entries.empty():
                batch.append(self._entries.get_nowait())
            try:
                rows = [self.model.rows(*entry()) for entry in batch if callable(entry)]
                with self.engine.begin() as connection:
                    self.model.write(connection, rows)
            except Exception:
                log.exception("%d calls could not be kept", len(batch))
                self.lost += len(batch)
            for entry in batch:
                if isinstance(entry, Future):
                    entry.set_result(None)
            if None in batch:
                return


def _tune(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
