"""The log of calls: a file beside the event log, asked by the query language. Append-only, but for what is too old."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import Message
from sqlalchemy import Engine, MetaData, create_engine, delete, event, func, inspect, select

from projections.model import ReadModel
from projections.schema.registry import ReadModels

KIND = "operation_log"
# The rows that one statement removes.
CHUNK = 5_000
_USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)


class CallLog:
    """Who removes old calls says so in the log itself."""

    def __init__(self, directory: Path, message_type: type[Message]) -> None:
        self.engine: Engine = create_engine(f"sqlite:///{directory / 'calls.db'}")
        event.listen(self.engine, "connect", _tune)
        self.model = ReadModel(message_type, indexes=("create_date", "session_uuid"), metadata=MetaData(), kind=KIND)
        self.models = ReadModels([self.model])

    def prepare(self) -> None:
        """Make the tables."""
        with self.engine.begin() as connection:
            if inspect(connection).has_table(self.model.table.name):
                have = {column["name"] for column in inspect(connection).get_columns(self.model.table.name)}
                if have != {column.name for column in self.model.table.columns}:
                    old = f"{self.model.table.name}_until_{len(have)}"
                    raise RuntimeError(f"calls.db is of another version; move it away to begin a new one ({old})")
            self.model.create(connection)

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def write(self, calls: Iterable[tuple[Message, str]]) -> None:
        """Records and whose they are; one that is there already is the same."""
        rows = [self.model.rows(*call) for call in calls]
        with self.engine.begin() as connection:
            self.model.write(connection, rows)

    def remove(self, before: int, keep: int, size: int = 0) -> int:
        """Remove what is older than a time, all but the newest `keep`, and what is more than a size in bytes.

        Gives how many. What was removed leaves room in the file for what is to come. size: 0 for any.
        """
        table = self.model.table
        removed = 0
        with self.engine.begin() as connection:
            total = connection.execute(select(func.count()).select_from(table)).scalar_one()
            old = connection.execute(
                select(func.count()).select_from(table).where(table.c.create_date < before)
            ).scalar_one()
            used = connection.exec_driver_sql(_USED).scalar_one()
            if size and used > size:
                keep = min(keep, total * size // used)
            left = max(old, total - keep, 0)
            while left > 0:
                oldest = select(table.c.uuid).order_by(table.c.create_date, table.c.uuid).limit(min(left, CHUNK))
                removed += connection.execute(delete(table).where(table.c.uuid.in_(oldest))).rowcount
                left -= CHUNK
        return removed


def _tune(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
