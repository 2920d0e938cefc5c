"""The log in SQLite: one append-only table in WAL with synchronous=FULL, positions gap-free and in commit order."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import IntegrityError, StoredEvent, Tracking

from zcloud.kernel.record import Append, Record
from zcloud.kernel.store import RequestTaken, StoreAway
from zcloud.kernel.store.reading import FORGET_REQUESTS, TRACK, SqlStore, past
from zcloud.kernel.store.rows import COLUMNS, row_of

SCHEMA = Path(__file__).with_name("sqlite.sql").read_text()
_INSERT = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({','.join('?' * len(COLUMNS))})"  # noqa: S608


class SqliteRecorder(SqlStore):
    """One connection writes (the caller sees to it that one thread at a time does), others read."""

    def __init__(self, path: str | Path, originator_id_type: type[UUID] | type[str] = str) -> None:
        super().__init__(originator_id_type)
        self.path = str(path)
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.RLock()
        self._keep = self._connect()  # keeps a database in memory alive
        with self._lock:
            self._keep.executescript(SCHEMA)

    # -- connections

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, uri=self.path.startswith("file:"), timeout=10
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        self._all.append(connection)
        return connection

    def _reader(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            with self._lock:
                found = self._local.connection = self._connect()
        return found

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        try:
            rows: Sequence[Sequence[Any]] = self._reader().execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreAway(str(error)) from error
        return rows

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._keep
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.IntegrityError as error:
                connection.rollback()
                raise IntegrityError(str(error)) from error
            except sqlite3.Error as error:
                connection.rollback()
                raise StoreAway(str(error)) from error
            except BaseException:
                connection.rollback()
                raise

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    # -- writing

    def append_batch(self, appends: Sequence[Append]) -> list[list[Record] | Exception]:
        outcomes: list[list[Record] | Exception] = []
        # By stream, the version that failed in this batch: another writer's change may have the same number.
        failed: dict[str, int] = {}
        with self._transaction() as c:
            position = self._head(c)
            for append in appends:
                c.execute("SAVEPOINT one")
                try:
                    for stream, expected in (*append.bases.items(), *append.guards.items()):
                        if expected >= failed.get(stream, expected + 1):
                            raise IntegrityError(f"an earlier change of {stream} failed")
                    records = self._append(c, append, position)
                except (IntegrityError, RequestTaken) as error:
                    c.execute("ROLLBACK TO one")
                    outcomes.append(error)
                    for stream, base in append.bases.items():
                        failed[stream] = min(failed.get(stream, base + 1), base + 1)
                else:
                    position += len(records)
                    outcomes.append(records)
                c.execute("RELEASE one")
        return outcomes

    def _append(self, c: sqlite3.Connection, append: Append, head: int) -> list[Record]:
        for stream, expected in (*append.bases.items(), *append.guards.items()):
            found = c.execute("SELECT max(version) FROM events WHERE stream=?", (stream,)).fetchone()[0] or 0
            if found != expected:
                raise IntegrityError(f"stream {stream} is at version {found}, not {expected}")
        records = [dataclasses.replace(r, position=head + n) for n, r in enumerate(append.records, 1)]
        self._insert(c, records)
        if append.request is not None:
            r = append.request
            done = c.execute(
                "INSERT OR IGNORE INTO requests VALUES (?,?,?,?,?,?,?)",
                (r.account_uuid, r.request_id, r.rpc, r.body_hash, r.response, r.time, head + len(records)),
            )
            if done.rowcount == 0:
                raise RequestTaken(r.request_id)
        return records

    def _head(self, c: sqlite3.Connection) -> int:
        return int(c.execute("SELECT max(position) FROM events").fetchone()[0] or 0)

    def _insert(self, c: sqlite3.Connection, records: Sequence[Record]) -> None:
        try:
            c.executemany(_INSERT, [row_of(r) for r in records])
        except sqlite3.IntegrityError as error:
            raise IntegrityError(str(error)) from error

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        with self._transaction() as c:
            head = self._head(c)
            records = [
                dataclasses.replace(s, position=head + n)
                if isinstance(s, Record)
                else Record(s.originator_id, s.originator_version, s.topic, s.state, position=head + n)
                for n, s in enumerate(stored_events, 1)
            ]
            self._insert(c, records)
            if tracking is not None:
                self._track(c, tracking)
        return [r.position for r in records]

    def insert_tracking(self, tracking: Tracking) -> None:
        with self._transaction() as c:
            self._track(c, tracking)

    def _track(self, c: sqlite3.Connection, tracking: Tracking) -> None:
        if c.execute(TRACK, (tracking.application_name, tracking.notification_id)).rowcount == 0:
            raise past(tracking)

    def forget_requests(self, before: int) -> int:
        with self._transaction() as c:
            return c.execute(FORGET_REQUESTS, (before,)).rowcount

    def incarnation(self, make: str) -> str:
        with self._transaction() as c:
            c.execute("INSERT OR IGNORE INTO store (key, value) VALUES ('incarnation', ?)", (make,))
            return str(c.execute("SELECT value FROM store WHERE key='incarnation'").fetchone()[0])
