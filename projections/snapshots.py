"""Snapshots of long streams beside the read models: the follower folds every stream anyway, so it makes them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import BigInteger, Column, Connection, Engine, LargeBinary, MetaData, Table, insert, select
from sqlalchemy.exc import SQLAlchemyError

from projections.schema.tables import TEXT
from zcloud.kernel.errors import Refused
from zcloud.kernel.snapshot import Snapshot

log = logging.getLogger(__name__)
metadata = MetaData()
snapshots = Table(
    "snapshot",
    metadata,
    Column("stream", TEXT, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("code", TEXT, nullable=False),
    Column("state", LargeBinary, nullable=False),
)


class SnapshotTable:
    """Written by the follower with the read models."""

    fingerprint = hashlib.sha256(b"snapshot 1").hexdigest()

    tables = (snapshots,)

    def write(self, connection: Connection, taken: Sequence[Snapshot]) -> None:
        """Keep what was taken in a batch."""
        if taken:
            connection.execute(insert(snapshots), [asdict(snapshot) for snapshot in taken])


class SnapshotsIn:
    """Those of a store of read models, for who folds long streams."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(self, stream: str, by: int | None = None) -> Snapshot | None:
        """The newest of a stream, at or before a position. It can be done without: trouble is no reason to fail."""
        statement = select(snapshots).where(snapshots.c.stream == stream)
        if by is not None:
            statement = statement.where(snapshots.c.position <= by)
        try:
            with self._engine.connect() as connection:
                row = connection.execute(statement.order_by(snapshots.c.version.desc()).limit(1)).one_or_none()
        except (SQLAlchemyError, Refused) as error:
            log.warning("a long stream is folded from its beginning: %s", error)
            return None
        return None if row is None else Snapshot(*row)
