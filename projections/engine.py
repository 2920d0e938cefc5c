"""Where the read models lie: a file beside the log's, or a schema of the database that holds the log."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext

from zcloud.kernel.log import unavailable

SCHEMA = "zcloud_views"
CONNECTIONS = 16
# A query that takes longer is not answered; writing a large batch may take a while.
STATEMENT_SECONDS = 30.0


def open_engine(directory: Path, address: str = "", schema: str = SCHEMA) -> Engine:
    """The engine for an address (postgresql://…) and a schema in it; without one, SQLite in the directory.

    A store that is away is a refusal (UNAVAILABLE) wherever it is met, not a fault.
    """
    engine = _postgresql(address, schema) if address else create_engine(f"sqlite:///{directory / 'views.db'}")
    if not address:
        event.listen(engine, "connect", _tune)
    event.listen(engine, "handle_error", _refuse)
    return engine


def _postgresql(address: str, schema: str) -> Engine:
    import psycopg

    from zcloud.kernel.store.arrays import register
    from zcloud.kernel.store.connections import Impatient, conninfo

    text = conninfo(address, schema, STATEMENT_SECONDS)

    class Patient(Impatient):
        silence = STATEMENT_SECONDS + 2.0

    def connect() -> psycopg.Connection[Any]:
        made = Patient.connect(text)
        register(made)
        return made

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=CONNECTIONS // 2,
        max_overflow=CONNECTIONS - CONNECTIONS // 2,
        pool_timeout=5,
        pool_pre_ping=True,
    )

    def make_schema(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            # CREATE SCHEMA IF NOT EXISTS fails when two do it at once.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (schema,))
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.commit()

    event.listen(engine, "first_connect", make_schema)
    return engine


def _tune(connection: Any, _: object) -> None:
    """Read models can be rebuilt: they need not wait for the disk."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _refuse(context: ExceptionContext) -> None:
    error = context.original_exception
    if _away(error):
        context.chained_exception = unavailable(f"the read models can't be reached: {str(error).strip()}")


def _away(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return name.startswith(("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"))
    kinds = {cls.__name__ for cls in type(error).__mro__ if cls.__module__.startswith("psycopg")}
    return bool(kinds & {"OperationalError", "InterfaceError", "ReadOnlySqlTransaction"})
