"""The log of calls, asked by the query language: beside the event log, of all nodes one where they share a store.

Append-only, but for what is too old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection, Engine, MetaData, Table, delete, func, inspect, select, text
from sqlalchemy.schema import CreateColumn

from projections.engine import open_engine, reading
from projections.model import ReadModel
from projections.schema.registry import ReadModels
from zcloud.kernel.errors import Refused

T = TypeVar("T")
KIND = "operation_log"
SCHEMA = "zcloud_calls"
FILE = "calls.db"
# Of each process that has it open.
CONNECTIONS = 4
# The rows that one statement removes.
CHUNK = 5_000
_USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
# Rows that are looked at for what one takes, and what each index takes for one: a uuid and where its row is.
SAMPLE = 10_000
INDEX_BYTES = 40


class CallLog:
    """Who removes old calls says so in the log itself."""

    def __init__(self, directory: Path, message_type: type[Message], address: str = "") -> None:
        """address: postgresql://… when it lies there, and not in a file in the directory."""
        self.engine: Engine = open_engine(
            directory, address, SCHEMA, file=FILE, connections=CONNECTIONS, what="the log of calls"
        )
        self._readers = reading(self.engine)
        # Each index is paid for by every call: the newest first is what is asked for.
        self.model = ReadModel(message_type, metadata=MetaData(), kind=KIND, orders=("create_date",))
        self.models = ReadModels([self.model])

    def prepare(self) -> None:
        """Make the tables, and what those of an earlier version lack: calls from before have nothing there.

        Indexes that an earlier version had and this one has not are dropped.
        """
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # of nodes that start together one makes them
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": SCHEMA})
            for table in (*self.model.tables, self.model.shares):
                if inspect(connection).has_table(table.name):
                    _extend(connection, table)
            self.model.create(connection)

    def close(self) -> None:
        """Let go of the store."""
        self.engine.dispose()

    def read(self, ask: Callable[[Connection], T]) -> T:
        """What is asked of it; again when a connection that was idle turns out to be lost."""
        try:
            with self._readers.connect() as connection:
                return ask(connection)
        except Refused:
            with self._readers.connect() as connection:
                return ask(connection)

    def write(self, calls: Iterable[tuple[Message, str]]) -> None:
        """Records and whose they are; one that is there already is the same."""
        rows = [self.model.rows(*call) for call in calls]
        with self.engine.begin() as connection:
            self.model.write(connection, rows)

    def remove(self, before: int, keep: int, size: int = 0) -> int:
        """Remove what is older than a time, all but the newest `keep`, and what is more than a size in bytes.

        Gives how many. What was removed leaves room for what is to come. size: 0 for any.
        """
        table = self.model.table
        removed = 0
        with self.engine.begin() as connection:
            total = connection.execute(select(func.count()).select_from(table)).scalar_one()
            old = connection.execute(
                select(func.count()).select_from(table).where(table.c.create_date < before)
            ).scalar_one()
            used = self._used(connection, total) if size else 0
            if used > size:
                keep = min(keep, total * size // used)
            left = max(old, total - keep, 0)
            while left > 0:
                oldest = select(table.c.uuid).order_by(table.c.create_date, table.c.uuid).limit(min(left, CHUNK))
                removed += connection.execute(delete(table).where(table.c.uuid.in_(oldest))).rowcount
                left -= CHUNK
        return removed

    def _used(self, connection: Connection, total: int) -> int:
        """Bytes that the rows take, without the room that others left behind."""
        if connection.dialect.name != "postgresql":
            return int(connection.exec_driver_sql(_USED).scalar_one())
        # What the table takes on the disk never shrinks by itself: by that it would be emptied.
        table = self.model.table
        share = min(100.0, 100.0 * SAMPLE / max(total, 1))
        each = f"SELECT avg(pg_column_size(t.*)) FROM {table.name} AS t TABLESAMPLE SYSTEM ({share})"  # noqa: S608
        row = connection.exec_driver_sql(each).scalar_one()
        return int(total * (float(row) + INDEX_BYTES * (len(table.indexes) + 1))) if row is not None else 0


def _extend(connection: Connection, table: Table) -> None:
    name = connection.dialect.identifier_preparer.format_table(table)
    have = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in have:
            lacks = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {lacks}")
    wanted = {str(index.name) for index in table.indexes}
    for found in inspect(connection).get_indexes(table.name):
        if found["name"] not in wanted:  # of an earlier version; each costs every call
            connection.exec_driver_sql(f"DROP INDEX IF EXISTS {found['name']}")
    for index in table.indexes:
        index.create(connection, checkfirst=True)
