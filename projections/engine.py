"""Where the read models lie: a file beside the log's, or a schema of the database that holds the log."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError

from projections import damage
from zcloud.kernel.log import unavailable

SCHEMA = "zcloud_views"
FILE = "views.db"
CONNECTIONS = 16
# A query that takes longer is not answered; writing a large batch may take a while.
STATEMENT_SECONDS = 30.0
# A connection that was used less long ago is taken to stand.
IDLE_SECONDS = 1.0


def open_engine(
    directory: Path,
    address: str = "",
    schema: str = SCHEMA,
    *,
    file: str = FILE,
    connections: int = CONNECTIONS,
    what: str = "the read models",
) -> Engine:
    """The engine for an address (postgresql://…) and a schema in it; without one, a file of SQLite in the directory.

    A store that is away is a refusal (UNAVAILABLE) wherever it is met, not a fault. what: is said to be away then.
    """
    engine = _postgresql(address, schema, connections) if address else create_engine(f"sqlite:///{directory / file}")
    if not address:
        event.listen(engine, "connect", _tune)
    event.listen(engine, "handle_error", partial(_refuse, what, None if address else directory / file))
    return engine


def _postgresql(address: str, schema: str, connections: int) -> Engine:
    import psycopg

    from zcloud.kernel.store.arrays import register
    from zcloud.kernel.store.connections import Impatient, conninfo

    text = conninfo(address, schema, STATEMENT_SECONDS)

    class Patient(Impatient):
        silence = STATEMENT_SECONDS + 2.0

    def connect() -> psycopg.Connection[Any]:
        made = Patient.connect(text)
        register(made)
        # What a crash takes is folded again, and the log's writer does not wait for our flushes; see watched().
        made.execute("SET synchronous_commit = off")
        made.commit()
        return made

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=connections // 2,
        max_overflow=connections - connections // 2,
        pool_timeout=5,
    )
    event.listen(engine, "checkin", _put_back)
    event.listen(engine, "checkout", _look_at)

    def make_schema(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            # CREATE SCHEMA IF NOT EXISTS fails when two do it at once.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (schema,))
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.commit()

    event.listen(engine, "first_connect", make_schema)
    return engine


def reading(engine: Engine) -> Engine:
    """The same for who only reads, a statement at a time: beginning and ending would be round trips of their own.

    Statements are planned for the values they come with: whose many rows are and whose few makes all the difference.
    """
    if engine.dialect.name != "postgresql":
        return engine
    event.listen(engine, "connect", _plan_each)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _plan_each(connection: Any, _: object) -> None:
    connection.execute("SET plan_cache_mode = force_custom_plan")
    connection.commit()


def watched(engine: Engine, found: Callable[[int], None]) -> None:
    """Say, of each new connection to PostgreSQL, up to which position rows are there, before anything is asked of it.

    A server that crashed, or another that took over, may have lost the last moments; all connections are new then.
    found: may raise, then the connection is not used.
    """
    if engine.dialect.name != "postgresql":
        return

    def look(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('projection') IS NOT NULL")
            if cursor.fetchone()[0]:
                cursor.execute("SELECT position FROM projection WHERE name = 'models'")
                row = cursor.fetchone()
                if row is not None:
                    found(int(row[0]))
        connection.rollback()

    event.listen(engine, "connect", look)


def _put_back(_: object, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _look_at(connection: Any, record: Any, _: object) -> None:
    """Whether a connection still stands, when it was idle for a while; not each time, which is one more round trip."""
    if time.monotonic() - record.info.get("used", math.inf) > IDLE_SECONDS:
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except Exception as error:
            raise DisconnectionError(str(error)) from error


def _tune(connection: Any, _: object) -> None:
    """Read models can be rebuilt: they need not wait for the disk."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _refuse(what: str, path: Path | None, context: ExceptionContext) -> None:
    error = context.original_exception
    if path is not None and damage.is_damage(error):
        damage.mark(path)
        raise unavailable(f"{path} is damaged ({error}): restart this node, which begins it anew") from error
    if _away(error):
        raise unavailable(f"{what} can't be reached: {str(error).strip()}") from error


def _away(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return name.startswith(("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"))
    kinds = {cls.__name__ for cls in type(error).__mro__ if cls.__module__.startswith("psycopg")}
    return bool(kinds & {"OperationalError", "InterfaceError", "ReadOnlySqlTransaction"})
