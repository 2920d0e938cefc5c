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

import msgspec
from eventsourcing.persistence import (
    IntegrityError,
    Notification,
    OperationalError,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
)

from zcloud.kernel.context import Actor
from zcloud.kernel.record import Append, Record, RequestRecord

SCHEMA = Path(__file__).with_name("schema.sql").read_text()
_COLUMNS = (
    "position, stream, version, topic, state, time, schema, kind, resource_uuid, owner_uuid, zone_uuid, actor,"
    " origin, request_id, causation_id, correlation_id, reason, job_uuid"
)
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({','.join('?' * 18)})"  # noqa: S608 - constant text
_SELECT = f"SELECT {_COLUMNS} FROM events"  # noqa: S608 - constant text
_actor_decoder = msgspec.json.Decoder(Actor)


def _values(*values: Any) -> list[Any]:
    return list(values)


class RequestTaken(Exception):
    """This request id is in the log already."""


class SqliteRecorder(ProcessRecorder):
    """Implements the eventsourcing library's recorder interfaces, and the kernel's wider ones.

    One connection writes (the caller sees to it that one thread at a time does), others read.
    """

    def __init__(self, path: str | Path, originator_id_type: type[UUID] | type[str] = str) -> None:
        self.path = str(path)
        self._id_type = originator_id_type
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
                raise OperationalError(str(error)) from error
            except BaseException:
                connection.rollback()
                raise

    def close(self) -> None:
        """Close every connection; the recorder can't be used afterwards."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    # -- writing

    def append_batch(self, appends: Sequence[Append]) -> list[list[Record] | Exception]:
        """Commit many decisions at once; one that conflicts fails alone, with those that rest on it.

        Gives for each the records with their positions, or IntegrityError, or RequestTaken.
        """
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
            c.executemany(
                _INSERT,
                [
                    (
                        r.position,
                        r.originator_id.hex if isinstance(r.originator_id, UUID) else r.originator_id,
                        r.originator_version,
                        r.topic,
                        r.state,
                        r.time,
                        r.schema,
                        r.kind,
                        r.resource_uuid,
                        r.owner_uuid,
                        r.zone_uuid,
                        msgspec.json.encode(r.actor),
                        r.origin,
                        r.request_id,
                        r.causation_id,
                        r.correlation_id,
                        r.reason,
                        r.job_uuid,
                    )
                    for r in records
                ],
            )
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

    # -- reading

    def _record(self, row: Sequence[Any]) -> Record:
        stream = row[1]
        return Record(
            UUID(stream) if self._id_type is UUID else stream,
            row[2],
            row[3],
            row[4],
            position=row[0],
            time=row[5],
            schema=row[6],
            kind=row[7],
            resource_uuid=row[8],
            owner_uuid=row[9],
            zone_uuid=row[10],
            actor=_actor_decoder.decode(row[11]),
            origin=row[12],
            request_id=row[13],
            causation_id=row[14],
            correlation_id=row[15],
            reason=row[16],
            job_uuid=row[17],
        )

    def read_stream(self, stream: str, after: int = 0, upto: int | None = None, by: int | None = None) -> list[Record]:
        """One aggregate's events after a version, up to a version, up to a global position."""
        statement, values = _SELECT + " WHERE stream=? AND version>?", _values(stream, after)
        if upto is not None:
            statement, values = statement + " AND version<=?", [*values, upto]
        if by is not None:
            statement, values = statement + " AND position<=?", [*values, by]
        rows = self._reader().execute(statement + " ORDER BY version", values).fetchall()
        return [self._record(row) for row in rows]

    def read_all(self, after: int, limit: int) -> list[Record]:
        """The log itself, in order, after a position."""
        rows = self._reader().execute(_SELECT + " WHERE position>? ORDER BY position LIMIT ?", (after, limit))
        return [self._record(row) for row in rows.fetchall()]

    def read_positions(self, positions: Sequence[int]) -> list[Record]:
        """The events at these positions, in order."""
        marks = ",".join("?" * len(positions))
        rows = self._reader().execute(f"{_SELECT} WHERE position IN ({marks}) ORDER BY position", positions)
        return [self._record(row) for row in rows.fetchall()]

    def head(self) -> int:
        """Position of the newest event, 0 when there is none."""
        return self._head(self._reader())

    def last_time(self) -> int:
        """Time of the newest event, 0 when there is none."""
        row = self._reader().execute("SELECT time FROM events ORDER BY position DESC LIMIT 1").fetchone()
        return int(row[0]) if row else 0

    def find_request(self, account_uuid: str, request_id: str) -> RequestRecord | None:
        """The first answer to a request id."""
        row = (
            self._reader()
            .execute("SELECT * FROM requests WHERE account_uuid=? AND request_id=?", (account_uuid, request_id))
            .fetchone()
        )
        return RequestRecord(*row) if row else None

    def forget_requests(self, before: int) -> int:
        """Drop answers older than a time; returns how many."""
        with self._transaction() as c:
            return c.execute("DELETE FROM requests WHERE time<?", (before,)).rowcount

    def incarnation(self, make: str) -> str:
        """The store's own identity, made at its first start."""
        with self._transaction() as c:
            c.execute("INSERT OR IGNORE INTO store (key, value) VALUES ('incarnation', ?)", (make,))
            return str(c.execute("SELECT value FROM store WHERE key='incarnation'").fetchone()[0])

    # -- the library's interfaces

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        stream = originator_id.hex if isinstance(originator_id, UUID) else originator_id
        statement, values = _SELECT + " WHERE stream=?", _values(stream)
        if gt is not None:
            statement, values = statement + " AND version>?", [*values, gt]
        if lte is not None:
            statement, values = statement + " AND version<=?", [*values, lte]
        statement += " ORDER BY version" + (" DESC" if desc else "")
        if limit is not None:
            statement, values = statement + " LIMIT ?", [*values, limit]
        rows = [self._record(row) for row in self._reader().execute(statement, values).fetchall()]
        return [StoredEvent(r.originator_id, r.originator_version, r.topic, r.state) for r in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        statement, values = _SELECT + " WHERE position>?", _values(0)
        if start is not None:
            statement, values = statement + f" AND position{'>=' if inclusive_of_start else '>'}?", [*values, start]
        if stop is not None:
            statement, values = statement + " AND position<=?", [*values, stop]
        if topics:
            statement, values = statement + f" AND topic IN ({','.join('?' * len(topics))})", [*values, *topics]
        rows = self._reader().execute(statement + " ORDER BY position LIMIT ?", [*values, limit]).fetchall()
        found = [self._record(row) for row in rows]
        return [Notification(r.originator_id, r.originator_version, r.topic, r.state, r.position) for r in found]

    def max_notification_id(self) -> int | None:
        return self.head() or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[Any]:
        """Followers are woken by the writer in this process; see zcloud.kernel.log."""
        raise NotImplementedError("follow the log through zcloud.kernel.log.Log")

    def insert_tracking(self, tracking: Tracking) -> None:
        with self._transaction() as c:
            self._track(c, tracking)

    def _track(self, c: sqlite3.Connection, tracking: Tracking) -> None:
        done = c.execute(
            "INSERT INTO tracking VALUES (?,?) ON CONFLICT (application_name) DO UPDATE"
            " SET notification_id=excluded.notification_id WHERE notification_id<excluded.notification_id",
            (tracking.application_name, tracking.notification_id),
        )
        if done.rowcount == 0:
            raise IntegrityError(f"{tracking.application_name} is past {tracking.notification_id} already")

    def max_tracking_id(self, application_name: str) -> int | None:
        row = (
            self._reader()
            .execute("SELECT notification_id FROM tracking WHERE application_name=?", (application_name,))
            .fetchone()
        )
        return int(row[0]) if row else None

    def has_tracking_id(self, application_name: str, notification_id: int | None) -> bool:
        if notification_id is None:
            return True
        found = self.max_tracking_id(application_name)
        return found is not None and found >= notification_id
