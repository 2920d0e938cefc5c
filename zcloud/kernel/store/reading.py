"""Reading a store that speaks SQL: the statements, written once for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import IntegrityError, Notification, StoredEvent, Subscription, Tracking

from zcloud.kernel.record import Record, RequestRecord
from zcloud.kernel.store import Store
from zcloud.kernel.store.rows import COLUMNS, record_of, stream_name

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events"  # noqa: S608 - constant text
TRACK = (
    "INSERT INTO tracking (application_name, notification_id) VALUES (?,?) ON CONFLICT (application_name)"
    " DO UPDATE SET notification_id=excluded.notification_id"
    " WHERE tracking.notification_id<excluded.notification_id"
)
# Streams in one question.
STREAMS = 200
FORGET_REQUESTS = "DELETE FROM requests WHERE time<?"


def past(tracking: Tracking) -> IntegrityError:
    """What is tracked goes forward only."""
    return IntegrityError(f"{tracking.application_name} is past {tracking.notification_id} already")


class SqlStore(Store):
    """All that only reads. A value's place in a statement is marked by "?"."""

    def __init__(self, originator_id_type: type[UUID] | type[str]) -> None:
        self._id_type = originator_id_type

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """Every row of a query."""

    def _records(self, statement: str, values: Sequence[Any]) -> list[Record]:
        return [record_of(row, self._id_type) for row in self._rows(_SELECT + statement, values)]

    # -- the kernel's

    def read_stream(self, stream: str, after: int = 0, upto: int | None = None, by: int | None = None) -> list[Record]:
        statement, values = " WHERE stream=? AND version>?", [stream, after]
        if upto is not None:
            statement, values = statement + " AND version<=?", [*values, upto]
        if by is not None:
            statement, values = statement + " AND position<=?", [*values, by]
        return self._records(statement + " ORDER BY version", values)

    def read_streams(self, streams: Sequence[str], upto: int, by: int) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for n in range(0, len(streams), STREAMS):
            some = streams[n : n + STREAMS]
            statement = f" WHERE stream IN ({_marks(some)}) AND version<=? AND position<=? ORDER BY stream, version"
            for record in self._records(statement, [*some, upto, by]):
                found.setdefault(stream_name(record.originator_id), []).append(record)
        return found

    def read_all(self, after: int, limit: int) -> list[Record]:
        return self._records(" WHERE position>? ORDER BY position LIMIT ?", (after, limit))

    def read_positions(self, positions: Sequence[int]) -> list[Record]:
        if not positions:
            return []
        return self._records(f" WHERE position IN ({_marks(positions)}) ORDER BY position", positions)

    def head(self) -> int:
        return int(self._rows("SELECT max(position) FROM events")[0][0] or 0)

    def last_time(self) -> int:
        rows = self._rows("SELECT time FROM events ORDER BY position DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def find_request(self, account_uuid: str, request_id: str) -> RequestRecord | None:
        statement = (
            "SELECT account_uuid, request_id, rpc, body_hash, response, time, position"
            " FROM requests WHERE account_uuid=? AND request_id=?"
        )
        rows = self._rows(statement, (account_uuid, request_id))
        return RequestRecord(*rows[0]) if rows else None

    def recall(self, key: str) -> str:
        rows = self._rows("SELECT value FROM store WHERE key=?", (key,))
        return str(rows[0][0]) if rows else ""

    # -- the library's

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        values: list[Any] = [stream_name(originator_id)]
        statement = " WHERE stream=?"
        if gt is not None:
            statement, values = statement + " AND version>?", [*values, gt]
        if lte is not None:
            statement, values = statement + " AND version<=?", [*values, lte]
        statement += " ORDER BY version" + (" DESC" if desc else "")
        if limit is not None:
            statement, values = statement + " LIMIT ?", [*values, limit]
        found = self._records(statement, values)
        return [StoredEvent(r.originator_id, r.originator_version, r.topic, r.state) for r in found]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        values: list[Any] = [0]
        statement = " WHERE position>?"
        if start is not None:
            statement, values = statement + f" AND position{'>=' if inclusive_of_start else '>'}?", [*values, start]
        if stop is not None:
            statement, values = statement + " AND position<=?", [*values, stop]
        if topics:
            statement, values = statement + f" AND topic IN ({_marks(topics)})", [*values, *topics]
        found = self._records(statement + " ORDER BY position LIMIT ?", [*values, limit])
        return [Notification(r.originator_id, r.originator_version, r.topic, r.state, r.position) for r in found]

    def max_notification_id(self) -> int | None:
        return self.head() or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[Any]:
        """Followers are woken by the writer in their process; see zcloud.kernel.log."""
        raise NotImplementedError("follow the log through zcloud.kernel.log.Log")

    def max_tracking_id(self, application_name: str) -> int | None:
        rows = self._rows("SELECT notification_id FROM tracking WHERE application_name=?", (application_name,))
        return int(rows[0][0]) if rows else None

    def has_tracking_id(self, application_name: str, notification_id: int | None) -> bool:
        if notification_id is None:
            return True
        found = self.max_tracking_id(application_name)
        return found is not None and found >= notification_id


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
