"""The log in SQLite: one append-only table in WAL with synchronous=FULL, positions gap-free and in commit order."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import IntegrityError, StoredEvent, Tracking

from zcloud.kernel.record import Append, Record, RequestRecord
from zcloud.kernel.store import RequestTaken, StoreAway
from zcloud.kernel.store.reading import FORGET_REQUESTS, TRACK, SqlStore, past
from zcloud.kernel.store.rows import COLUMNS, row_of, stream_name

SCHEMA = Path(__file__).with_name("sqlite.sql").read_text()


_STANDING = """
SELECT (SELECT json_group_object(value, ifnull((SELECT max(version) FROM events WHERE stream=value), 0))
        FROM json_each(?1)),
       (SELECT json_group_array(json_array(r.account_uuid, r.request_id)) FROM json_each(?2) AS w JOIN requests AS r
        ON r.account_uuid=json_extract(w.value, '$[0]') AND r.request_id=json_extract(w.value, '$[1]')),
       (SELECT ifnull(max(position), 0) FROM events)
"""
# Rows of one statement: so many, or a multiple of as many. Each number of rows is a statement that is kept.
ROWS, MOST_ROWS, KEPT_STATEMENTS = 32, 512, 256
_REQUEST_COLUMNS = ("account_uuid", "request_id", "rpc", "body_hash", "response", "time", "position")


def _check(append: Append, versions: dict[str, int], failed: dict[str, int], taken: set[tuple[str, str]]) -> None:
    for stream, expected in (*append.bases.items(), *append.guards.items()):
        if expected >= failed.get(stream, expected + 1):
            raise IntegrityError(f"an earlier change of {stream} failed")
        if versions[stream] != expected:
            raise IntegrityError(f"stream {stream} is at version {versions[stream]}, not {expected}")
    if append.request is not None and (append.request.account_uuid, append.request.request_id) in taken:
        raise RequestTaken(append.request.request_id)


def _hint(error: sqlite3.Error) -> str:
    """What to do about a file that is no longer what was written."""
    name = getattr(error, "sqlite_errorname", "")
    if not name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return ""
    return "; the file is damaged: put the last backup in its place, and remove log.db-wal and log.db-shm beside it"


def _request_row(r: RequestRecord, position: int) -> tuple[Any, ...]:
    """In the order of the columns; bytes as hex digits."""
    return r.account_uuid, r.request_id, r.rpc, r.body_hash.hex(), r.response.hex(), r.time, position


@cache
def _inserting(table: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({','.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {','.join([row] * rows)}"  # noqa: S608


def _fill(c: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """In one or two statements, if they are not very many."""
    at = 0
    while left := len(rows) - at:
        several = min(left - left % ROWS or left, MOST_ROWS)
        values = list(chain.from_iterable(rows[at : at + several]))
        c.execute(_inserting(table, columns, several), values)
        at += several


class SqliteRecorder(SqlStore):
    """One connection writes (the caller sees to it that one thread at a time does), others read."""

    def __init__(self, path: str | Path, originator_id_type: type[UUID] | type[str] = str) -> None:
        super().__init__(originator_id_type)
        self.path = str(path)
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._reading: list[threading.Lock] = []
        self._closed = False
        self._lock = threading.RLock()
        try:
            self._keep = self._connect()  # keeps a database in memory alive
            with self._lock:
                self._keep.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise StoreAway(f"the log {self.path} can't be opened: {error}{_hint(error)}") from error

    # -- connections

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            isolation_level=None,
            check_same_thread=False,
            uri=self.path.startswith("file:"),
            timeout=10,
            cached_statements=KEPT_STATEMENTS,
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        self._all.append(connection)
        return connection

    def _reader(self) -> tuple[sqlite3.Connection, threading.Lock]:
        found: tuple[sqlite3.Connection, threading.Lock] | None = getattr(self._local, "reader", None)
        if found is None:
            with self._lock:
                if self._closed:
                    raise StoreAway("the store is closed")
                found = self._local.reader = (self._connect(), threading.Lock())
                self._reading.append(found[1])
        return found

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        connection, in_use = self._reader()
        with in_use:
            if self._closed:
                raise StoreAway("the store is closed")
            try:
                rows: Sequence[Sequence[Any]] = connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise StoreAway(f"{error}{_hint(error)}") from error
        return rows

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise StoreAway("the store is closed")
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
                raise StoreAway(f"{error}{_hint(error)}") from error
            except BaseException:
                connection.rollback()
                raise

    def close(self) -> None:
        with self._lock:
            self._closed = True
            # To close a connection under a thread that reads from it ends the process.
            for in_use in self._reading:
                in_use.acquire()
            for connection in self._all:
                connection.close()
            self._all.clear()
            for in_use in self._reading:
                in_use.release()
            self._reading.clear()

    # -- writing

    def append_batch(self, appends: Sequence[Append]) -> list[list[Record] | Exception]:
        """A handful of statements whatever the number of decisions: each one lets go of the interpreter's lock, and
        a writer that does so for every row waits for the busy event loop every time."""
        outcomes: list[list[Record] | Exception] = []
        with self._transaction() as c:
            versions, taken, position = self._standing(c, appends)
            # By stream, the version that failed in this batch: another writer's change may have the same number.
            failed: dict[str, int] = {}
            written: list[Record] = []
            requests: list[tuple[Any, ...]] = []
            for append in appends:
                try:
                    _check(append, versions, failed, taken)
                except (IntegrityError, RequestTaken) as error:
                    outcomes.append(error)
                    for stream, base in append.bases.items():
                        failed[stream] = min(failed.get(stream, base + 1), base + 1)
                    continue
                records = [r.at(position + n) for n, r in enumerate(append.records, 1)]
                position += len(records)
                versions.update((stream_name(r.originator_id), r.originator_version) for r in records)
                written += records
                if append.request is not None:
                    requests.append(_request_row(append.request, position))
                    taken.add((append.request.account_uuid, append.request.request_id))
                outcomes.append(records)
            self._insert(c, written)
            _fill(c, "requests", _REQUEST_COLUMNS, requests)
        return outcomes

    def _standing(
        self, c: sqlite3.Connection, appends: Sequence[Append]
    ) -> tuple[dict[str, int], set[tuple[str, str]], int]:
        """Versions of all streams that the decisions rest on, which of their request ids are taken, and the head."""
        streams = list({stream for a in appends for stream in (*a.bases, *a.guards)})
        wanted = [(a.request.account_uuid, a.request.request_id) for a in appends if a.request is not None]
        asked = (msgspec.json.encode(streams).decode(), msgspec.json.encode(wanted).decode())
        versions, taken, head = c.execute(_STANDING, asked).fetchone()
        pairs = msgspec.json.decode(taken)
        return msgspec.json.decode(versions), {(account, request) for account, request in pairs}, int(head)

    def find_request(self, account_uuid: str, request_id: str) -> RequestRecord | None:
        found = super().find_request(account_uuid, request_id)
        if found is None:
            return None
        texts = (str(found.body_hash), str(found.response))
        return dataclasses.replace(found, body_hash=bytes.fromhex(texts[0]), response=bytes.fromhex(texts[1]))

    def _head(self, c: sqlite3.Connection) -> int:
        return int(c.execute("SELECT max(position) FROM events").fetchone()[0] or 0)

    def _insert(self, c: sqlite3.Connection, records: Sequence[Record]) -> None:
        _fill(c, "events", COLUMNS, [row_of(r) for r in records])

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

    def remember(self, key: str, make: str) -> str:
        with self._transaction() as c:
            c.execute("INSERT OR IGNORE INTO store (key, value) VALUES (?, ?)", (key, make))
            return str(c.execute("SELECT value FROM store WHERE key=?", (key,)).fetchone()[0])
