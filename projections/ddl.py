"""Tables and indexes made and dropped, many at a time; indexes apart, since they are cheaper when rows are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Index, Table
from sqlalchemy.schema import CreateIndex, CreateTable


def drop(connection: Connection, tables: Sequence[Table]) -> None:
    """Those that are there; with their indexes."""
    quote = connection.dialect.identifier_preparer.quote
    _do(connection, [f"DROP TABLE IF EXISTS {quote(table.name)}" for table in tables])


def create(connection: Connection, tables: Iterable[Table]) -> None:
    """None of which is there; with their primary keys only."""
    _do(connection, [_text(connection, CreateTable, table) for table in tables])


def index(connection: Connection, tables: Iterable[Table]) -> None:
    """All other indexes of tables that have none."""
    indexes = sorted((one for table in tables for one in table.indexes), key=lambda one: str(one.name))
    _do(connection, [_text(connection, CreateIndex, one) for one in indexes])


def analyze(connection: Connection, tables: Iterable[Table]) -> None:
    """Let PostgreSQL know at once what it would notice by itself only later; SQLite plans without."""
    if connection.dialect.name == "postgresql":
        quote = connection.dialect.identifier_preparer.quote
        _do(connection, [f"ANALYZE {quote(table.name)}" for table in tables])


def _text(connection: Connection, statement: Any, what: Table | Index) -> str:
    """Made once: what it is about never changes."""
    dialect = connection.dialect
    found = what.info.get((statement, dialect.name))
    if found is None:
        found = what.info[statement, dialect.name] = str(statement(what).compile(dialect=dialect))
    return str(found)


def _do(connection: Connection, statements: Sequence[str]) -> None:
    if connection.dialect.name == "postgresql":
        if statements:
            driver: Any = connection.connection.driver_connection
            driver.execute("SET LOCAL statement_timeout = 0; " + "; ".join(statements))  # one round trip for all
        return
    for statement in statements:
        connection.exec_driver_sql(statement)
