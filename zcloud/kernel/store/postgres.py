"""The log in PostgreSQL: a batch is one statement, and the lock on the head is held from it to its commit only."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from eventsourcing.persistence import PersistenceError, StoredEvent, Tracking

from zcloud.kernel import failpoint
from zcloud.kernel.ids import TimedIds
from zcloud.kernel.record import Append, Record
from zcloud.kernel.store import StoreAway
from zcloud.kernel.store import postgres_schema as schema
from zcloud.kernel.store.arrays import bigs, blobs, ints, register, texts
from zcloud.kernel.store.batch import Answer, Batch
from zcloud.kernel.store.connections import Connections, Impatient, lost, translated
from zcloud.kernel.store.reading import FORGET_REQUESTS, TRACK, SqlStore, past
from zcloud.kernel.store.rows import row_of

log = logging.getLogger(__name__)
T = TypeVar("T")
READERS = 8
# How long a batch is tried while the server is away; then its decisions are answered UNAVAILABLE.
PATIENCE_SECONDS = 6.0
RETRY_SECONDS = 0.1
GIVEN_UP = "ZC001"
_SETTLE = (
    "INSERT INTO writers AS w (writer, serial) VALUES (%s, %s) ON CONFLICT (writer)"
    " DO UPDATE SET serial = greatest(w.serial, excluded.serial), seen = now()"
    " RETURNING w.serial, w.done, w.firsts, w.stamps, w.fates"
)
_APPEND = f"SELECT firsts, stamps, fates FROM append_batch({','.join(['%s'] * 35)})"  # noqa: S608 - constant text
_APPEND_FENCED = f"SELECT firsts, stamps, fates FROM append_fenced({','.join(['%s'] * 38)})"  # noqa: S608


class PostgresRecorder(SqlStore):
    """Any number of processes may use the same database; each has one connection that writes and a few that read.

    A batch is numbered (serial) in a row of its writer, in its own transaction. When the answer to it is lost, that
    row tells whether it was committed, and looking it up shuts out a commit that is still to come.
    """

    shared = True

    def __init__(self, address: str, originator_id_type: type[UUID] | type[str] = str) -> None:
        super().__init__(originator_id_type)
        self._readers = Connections(address, schema.NAME, READERS)
        self._writers = Connections(address, schema.NAME, 1)
        self._lock = threading.Lock()
        self._writer = TimedIds().new()
        self._serial = 0
        # Whether the batch of that serial was sent and its answer not seen.
        self._unsure = False
        with translated():
            schema.prepare(address)
            with self._writers.use() as c:
                self._settle(c)

    def close(self) -> None:
        self._readers.close()
        self._writers.close()

    # -- reading

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        def read(c: Impatient) -> Sequence[Sequence[Any]]:
            return c.execute(statement.replace("?", "%s").encode(), values, binary=True).fetchall()

        return self._on(self._readers, read)

    def _on(self, pool: Connections, body: Callable[[Impatient], T]) -> T:
        """Do what may be done twice: once more when the connection had died while it was idle."""
        with translated():
            connection: Impatient | None = None
            try:
                with pool.use() as connection:
                    return body(connection)
            except psycopg.Error as error:
                if connection is None or not lost(connection, error):
                    raise
            with pool.use() as connection:
                return body(connection)

    # -- writing batches

    def append_batch(self, appends: Sequence[Append]) -> list[list[Record] | Exception]:
        batch = Batch(appends)
        try:
            return batch.outcomes(self._commit(batch) if batch.sent else Answer((), (), ()))
        except StoreAway:
            raise
        except PersistenceError as error:
            if len(appends) == 1:
                return [error]
        # One of them can't be stored at all (a text with NUL in it, say): the others are none the worse for it.
        return [outcome for append in appends for outcome in self.append_batch([append])]

    def _commit(self, batch: Batch) -> Answer:
        values, fences = _values(batch), _fences(batch)
        until = time.monotonic() + PATIENCE_SECONDS
        mine, told = -1, False
        with self._lock, translated():
            while True:
                connection: Impatient | None = None
                try:
                    with self._writers.use() as connection:
                        if self._unsure:
                            answer = self._settle(connection)
                            if answer is not None and self._serial == mine:
                                return answer
                        mine = self._serial = self._serial + 1
                        return self._send(connection, values, fences)
                except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
                    given_up = getattr(error, "sqlstate", None) == GIVEN_UP
                    worthwhile = lost(connection, error) or given_up
                    if not worthwhile or self._writers.closed or time.monotonic() > until:
                        raise
                    if not told:
                        log.warning("the log can't be written just now: %s", str(error).strip())
                    told = True
                time.sleep(RETRY_SECONDS)

    def _send(self, c: Impatient, values: Sequence[Any], fences: Sequence[Any]) -> Answer:
        register(c)
        self._unsure = True
        failpoint.hit("postgres.send")
        try:
            statement = _APPEND_FENCED if fences else _APPEND
            sent = (*fences, self._writer, self._serial, None, None, *values)
            row = c.execute(statement, sent, binary=True).fetchone()
        except psycopg.Error as error:
            if not lost(c, error) and error.sqlstate != GIVEN_UP:
                self._unsure = False  # the server has undone it, and its number is free
                self._serial -= 1
            raise
        failpoint.hit("postgres.sent")
        self._unsure = False
        assert row is not None
        return Answer(*row)

    def _settle(self, c: Impatient) -> Answer | None:
        """What came of the batch of this serial; None when it was not written, and then it never will be."""
        row = c.execute(_SETTLE, (self._writer, self._serial), binary=True).fetchone()
        assert row is not None
        serial, done, *answer = row
        self._unsure = False
        if serial > self._serial:
            raise psycopg.OperationalError(f"another process writes as {self._writer}")
        return Answer(*answer) if done == self._serial and self._serial else None

    # -- writing what is not the kernel's

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        records = [
            s if isinstance(s, Record) else Record(s.originator_id, s.originator_version, s.topic, s.state)
            for s in stored_events
        ]
        batch = Batch([Append(records, {})])
        follower = (tracking.application_name, tracking.notification_id) if tracking else (None, None)
        with self._lock, translated(), self._writers.use() as c:
            register(c)
            row = c.execute(_APPEND, (None, None, *follower, *_values(batch)), binary=True).fetchone()
        assert row is not None
        return [row[0][0] + n for n in range(len(records))]

    def insert_tracking(self, tracking: Tracking) -> None:
        if not self._change(TRACK, (tracking.application_name, tracking.notification_id)):
            raise past(tracking)

    def forget_requests(self, before: int) -> int:
        return self._change(FORGET_REQUESTS, (before,))

    def _change(self, statement: str, values: Sequence[Any]) -> int:
        with translated(), self._readers.use() as c:
            return c.execute(statement.replace("?", "%s").encode(), values).rowcount

    def remember(self, key: str, make: str) -> str:
        self._change("INSERT INTO store (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (key, make))
        return self.recall(key)


def _fences(batch: Batch) -> list[Any]:
    """Most batches have none, and spare the look at the leases."""
    if not batch.fences:
        return []
    numbers, parts, epochs = zip(*batch.fences, strict=True)
    return [ints(numbers), ints(parts), bigs(epochs)]


def _values(batch: Batch) -> list[Any]:
    """The batch as columns, in the order of the function's arguments."""
    events = [(number, r) for number, append in enumerate(batch.sent, 1) for r in append.records]
    rows = [row_of(r) for _, r in events]
    asked = [(number, a.request) for number, a in enumerate(batch.sent, 1) if a.request is not None]
    (_, stream, version, topic, state, _, of_schema, *rest) = zip(*rows, strict=True) if rows else [()] * 18
    kind, resource, owner, zone, actor, origin, request, causation, correlation, reason, job = rest
    return [
        bigs(max((r.time for r in append.records), default=0) for append in batch.sent),
        ints(len(append.records) for append in batch.sent),
        ints(n for n, _, _ in batch.checks),
        texts(s for _, s, _ in batch.checks),
        bigs(v for _, _, v in batch.checks),
        ints(n for n, _ in batch.rests),
        ints(on for _, on in batch.rests),
        ints(n for n, _ in asked),
        texts(q.account_uuid for _, q in asked),
        texts(q.request_id for _, q in asked),
        texts(q.rpc for _, q in asked),
        blobs(q.body_hash for _, q in asked),
        blobs(q.response for _, q in asked),
        bigs(q.time for _, q in asked),
        ints(n for n, _ in events),
        texts(stream),
        bigs(version),
        texts(topic),
        blobs(state),
        ints(of_schema),
        *map(texts, (kind, resource, owner, zone)),
        blobs(actor),
        *map(texts, (origin, request, causation, correlation, reason, job)),
    ]
