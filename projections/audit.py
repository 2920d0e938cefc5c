"""Index of the log by resource: which events a resource's history is made of. The events stay in the log."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, select

from projections.many import Many
from projections.schema.tables import TEXT

metadata = MetaData()
events = Table(
    "event_index",
    metadata,
    Column("resource_uuid", TEXT, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)
_insert = Many(events)


class AuditIndex:
    """Written by the follower with the read models."""

    fingerprint = hashlib.sha256(b"event_index 1").hexdigest()

    tables = (events,)

    def write(self, connection: Connection, rows: Sequence[tuple[str, int]]) -> None:
        """rows: resources and positions."""
        _insert.write(connection, rows)


def newest(connection: Connection, uuid: str, limit: int) -> list[int]:
    """Positions of the newest events of a resource, newest first."""
    statement = (
        select(events.c.position).where(events.c.resource_uuid == uuid).order_by(events.c.position.desc()).limit(limit)
    )
    return list(connection.execute(statement).scalars())


def positions(connection: Connection, uuids: Sequence[str], after: int, limit: int) -> list[int]:
    """Positions of the events of some resources, in order, after a position."""
    statement = (
        select(events.c.position)
        .where(events.c.resource_uuid.in_(uuids), events.c.position > after)
        .order_by(events.c.position)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())
