"""Read models made anew aside, from the whole log, and put in the place of the old ones, which serve until then."""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, inspect, text

from projections.engine import SCHEMA, open_engine
from projections.projector import Projector, progress
from projections.schema.registry import ReadModels
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.store import Store

NEW, OLD = f"{SCHEMA}_new", f"{SCHEMA}_old"
BUSY_SECONDS = 1.0

Told = Callable[[int], None]


def rebuild(store: Store, directory: Path, address: str = "", told: Told = lambda _: None) -> int:
    """Fill read models anew and let them serve; gives how far they are. Cut short, the old ones stay as they are."""
    if address:
        return _on_postgresql(store, directory, address, told)
    path = directory / "views.db.new"
    path.unlink(missing_ok=True)
    engine = private(path)
    try:
        position = fill(store, engine, told).position
    finally:
        engine.dispose()
    _replace(path, directory / "views.db")
    return position


def fill(store: Store, engine: Engine, told: Told) -> Projector:
    """Tables where there are none, from the whole log."""
    projector = Projector(store, engine, ReadModels.of_api())
    projector.prepare()
    collecting = gc.isenabled()
    gc.disable()  # what is made here has no cycles, and there is much of it
    try:
        while projector.advance():
            told(projector.position)
    finally:
        if collecting:
            gc.enable()
    projector.finish()
    return projector


def private(path: Path) -> Engine:
    """A SQLite file that nobody else sees, and that is thrown away if it is not finished: nothing waits for a disk."""
    engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool)

    def tune(connection: sqlite3.Connection, _: object) -> None:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-131072"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", tune)
    return engine


def _replace(new: Path, old: Path) -> None:
    with new.open("rb") as file:
        os.fsync(file.fileno())
    if old.exists():
        # Without its WAL, which would be taken for the new file's; nobody can have it open then.
        connection = sqlite3.connect(old, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            new.unlink()
            text = f"the read models are in use ({error}): stop the server before they are filled anew"
            raise Refused(Code.FAILED_PRECONDITION, Reason.STORE_UNAVAILABLE, text) from error
        finally:
            connection.close()
    new.replace(old)
    directory = os.open(old.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _on_postgresql(store: Store, directory: Path, address: str, told: Told) -> int:
    live = open_engine(directory, address)
    engine = open_engine(directory, address, NEW)
    try:
        with live.begin() as connection:
            _drop(connection, NEW, OLD)
        projector = fill(store, engine, told)
        with live.begin() as connection:
            # Who writes the old tables waits here, or is waited for, and finds then that it was overtaken: what was
            # ever said to be in the read models is in the new ones.
            if inspect(connection).has_table(progress.name):
                connection.execute(progress.update().values(position=-1))
            while projector.advance():
                told(projector.position)
            # Who reads goes on with the old tables until its transaction ends.
            connection.execute(text(f"ALTER SCHEMA {SCHEMA} RENAME TO {OLD}"))
            connection.execute(text(f"ALTER SCHEMA {NEW} RENAME TO {SCHEMA}"))
        with live.begin() as connection:
            _drop(connection, OLD)
        return projector.position
    finally:
        engine.dispose()
        live.dispose()


def _drop(connection: Connection, *schemas: str) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    for schema in schemas:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
