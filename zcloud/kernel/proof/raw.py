"""The rows of the log as they lie in the store, read in bulk and not decoded; nothing is ever written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from zcloud.kernel.store.rows import COLUMNS

Row = tuple[Any, ...]
AT_ONCE = 5_000
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events"  # noqa: S608 - constant text
# At an end that is given, for the store to plan well; there is none past it.
LAST = (1 << 63) - 1


class Raw(Protocol):
    """What proving asks of a store."""

    def rows(self, after: int, until: int = LAST) -> Iterator[Sequence[Row]]:
        """Rows between two positions (the first one not included), in order of position, many at a time."""
        ...

    def head(self) -> int:
        """The largest position, 0 when there is none."""
        ...

    def tail(self) -> int:
        """The smallest position, 0 when there is none."""
        ...

    def store(self) -> str:
        """The store's identity; empty when it was never given one."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class _Sql:
    """Both stores speak SQL; their placeholders differ."""

    mark = "?"

    def _all(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        raise NotImplementedError

    def rows(self, after: int, until: int = LAST) -> Iterator[Sequence[Row]]:
        # By ranges: a planner that knows no statistics sorts all that is left for a LIMIT.
        between = f"{_SELECT} WHERE position>{self.mark} AND position<={self.mark} ORDER BY position"
        while True:
            found = self._all(between, (after, min(after + AT_ONCE, until)))
            # Nothing there: a gap, which may be wide, or the end.
            found = found or self._all(f"{between} LIMIT {AT_ONCE}", (after, until))
            if not found:
                return
            yield found
            after = int(found[-1][0])

    def head(self) -> int:
        return int(self._all("SELECT max(position) FROM events")[0][0] or 0)

    def tail(self) -> int:
        return int(self._all("SELECT min(position) FROM events")[0][0] or 0)

    def store(self) -> str:
        found = self._all("SELECT value FROM store WHERE key='incarnation'")
        return str(found[0][0]) if found else ""


class RawSqlite(_Sql):
    """The file log.db, opened for reading only."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, check_same_thread=False, timeout=10
        )

    def _all(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            if "UTF-8" not in str(error):
                raise
        # No text that the log was given: as bytes, it is not what was hashed.
        self._connection.text_factory = bytes
        try:
            return [_texts(row) for row in self._connection.execute(statement, values)]
        finally:
            self._connection.text_factory = str

    def close(self) -> None:
        self._connection.close()


def _texts(row: Row) -> Row:
    """What can be read as text, as text again; the columns that are bytes by right stay bytes."""
    blobs = {COLUMNS.index("state"), COLUMNS.index("actor")}
    return tuple(_text(value) if isinstance(value, bytes) and n not in blobs else value for n, value in enumerate(row))


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


class RawPostgres(_Sql):
    """The table in PostgreSQL."""

    mark = "%s"

    def __init__(self, address: str) -> None:
        import psycopg

        from zcloud.kernel.store import postgres_schema
        from zcloud.kernel.store.connections import conninfo

        text = conninfo(address, postgres_schema.NAME, 60.0)
        self._connection = psycopg.connect(text, autocommit=True)

    def _all(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        return self._connection.execute(statement.encode(), values, binary=True).fetchall()

    def close(self) -> None:
        self._connection.close()


def open_raw(directory: Path, address: str = "") -> Raw:
    """The log of a node. Raises FileNotFoundError when there is none in the directory."""
    if address:
        return RawPostgres(address)
    path = directory / "log.db"
    if not path.exists():
        raise FileNotFoundError(f"there is no log at {path}")
    return RawSqlite(path)
