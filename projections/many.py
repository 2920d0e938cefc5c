"""One statement for many rows: what SQLAlchemy does for each row, though it is the same for all, is done once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection


class Many:
    """An insert or upsert, compiled once for each dialect. make: gives the statement for a dialect's name.

    Values go to the driver as they are: they must be what the columns hold.
    """

    def __init__(self, make: Callable[[str], Any], columns: Sequence[str]) -> None:
        self._make = make
        self._columns = list(columns)
        self._compiled: dict[str, tuple[str, Callable[[Any], Any] | None]] = {}

    def execute(self, connection: Connection, rows: Sequence[Any]) -> None:
        """rows: mappings with a value for every column."""
        name = connection.dialect.name
        found = self._compiled.get(name)
        if found is None:
            compiled = self._make(name).compile(dialect=connection.dialect, column_keys=self._columns)
            order = compiled.positiontup
            found = self._compiled[name] = (compiled.string, None if order is None else itemgetter(*order))
        text, values = found
        connection.exec_driver_sql(text, list(rows) if values is None else list(map(values, rows)))
