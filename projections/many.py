"""Rows of a table written, replaced and deleted set-wise, as each store is quickest: no work of ours for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Float, Integer, LargeBinary, Table

# So many rows are copied: a statement with arrays costs less for few, COPY less for many.
CROWD = 500


class Many:
    """Inserts into a table. Values go to the driver as they are: they must be what the columns hold."""

    def __init__(self, table: Table, *, replace: bool = False) -> None:
        """replace: of rows that are there already, by the primary key; else they must not be there."""
        self._table = table
        self._replace = replace
        self._columns = [column.name for column in table.columns]
        self._values: Callable[[Any], tuple[Any, ...]] = itemgetter(*self._columns)
        self._texts: dict[str, str] = {}
        self._packers: list[Callable[[Sequence[Any]], Any]] = []

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]], *, fresh: bool = False) -> None:
        """rows: with a value for every column; fresh: none of them is there already."""
        self.write(connection, list(map(self._values, rows)), fresh=fresh)

    def write(self, connection: Connection, rows: Sequence[tuple[Any, ...]], *, fresh: bool = False) -> None:
        """rows: in the order of the columns."""
        if not rows:
            return
        dialect = connection.dialect.name
        if dialect == "sqlite":
            connection.exec_driver_sql(self._text(connection), list(rows))
        elif len(rows) >= CROWD and (fresh or not self._replace):
            driver: Any = connection.connection.driver_connection
            with driver.cursor() as cursor, cursor.copy(self._copy(connection)) as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            self._packers = self._packers or [_packer(column.type) for column in self._table.columns]
            columns = zip(*rows, strict=True)
            packed = tuple(pack(column) for pack, column in zip(self._packers, columns, strict=True))
            connection.exec_driver_sql(self._text(connection), packed)

    def _named(self, connection: Connection) -> tuple[str, list[str]]:
        preparer = connection.dialect.identifier_preparer
        return preparer.format_table(self._table), [preparer.quote(name) for name in self._columns]

    def _copy(self, connection: Connection) -> str:
        table, columns = self._named(connection)
        return f"COPY {table} ({', '.join(columns)}) FROM STDIN"

    def _text(self, connection: Connection) -> str:
        dialect = connection.dialect.name
        found = self._texts.get(dialect)
        if found is None:
            found = self._texts[dialect] = self._made(connection)
        return found

    def _made(self, connection: Connection) -> str:
        table, columns = self._named(connection)
        if connection.dialect.name == "sqlite":
            source = f"VALUES ({', '.join('?' * len(columns))})"
        else:
            source = f"SELECT * FROM unnest({', '.join(['%s'] * len(columns))})"  # noqa: S608 - constant text
        text = f"INSERT INTO {table} ({', '.join(columns)}) {source}"
        if self._replace:
            keys = [connection.dialect.identifier_preparer.quote(c.name) for c in self._table.primary_key]
            changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
            text += f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}"
        return text


class Gone:
    """Deletes the rows of a table of which a column has one of many values. more: what else they must have."""

    def __init__(self, table: Table, column: str, **more: str) -> None:
        self._table = table
        self._column = column
        self._more = more

    def execute(self, connection: Connection, values: Sequence[str]) -> None:
        """However many values."""
        if not values:
            return
        quote = connection.dialect.identifier_preparer.quote
        if connection.dialect.name == "sqlite":
            mark, one = "IN (SELECT value FROM json_each(?))", "?"
            given: Any = msgspec.json.encode(values).decode()
        else:
            from zcloud.kernel.store.arrays import texts  # needs the driver

            mark, one, given = "= ANY(%s)", "%s", texts(values)
        wanted = [f"{quote(self._column)} {mark}", *(f"{quote(name)} = {one}" for name in self._more)]
        text = f"DELETE FROM {quote(self._table.name)} WHERE {' AND '.join(wanted)}"  # noqa: S608 - our own names
        connection.exec_driver_sql(text, (given, *self._more.values()))


def _packer(kind: Any) -> Callable[[Sequence[Any]], Any]:
    from zcloud.kernel.store.arrays import bigs, blobs, floats, ints, texts  # needs the driver

    if isinstance(kind, LargeBinary):
        return blobs
    if isinstance(kind, Float):
        return floats
    if isinstance(kind, BigInteger):
        return bigs
    return ints if isinstance(kind, Integer) else texts
