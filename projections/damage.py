"""A damaged file of SQLite that is not the log itself: noticed, and put away at the node's next start."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)
BESIDE = ("-wal", "-shm")
# Beside a file of which a page could not be read: only the beginning of it is looked at when a node starts.
MARK = ".damaged"


def is_damage(error: BaseException) -> bool:
    """Whether it is the file, and not what was asked of it."""
    name = getattr(error, "sqlite_errorname", "")
    return isinstance(error, sqlite3.Error) and name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def mark(path: Path) -> None:
    """The next start puts it away; whoever has it open now would not see another one in its place."""
    with contextlib.suppress(OSError):
        path.with_name(path.name + MARK).touch()


def put_away(path: Path, *, keep: bool) -> None:
    """When it is damaged; nobody may have it open. keep: beside its place, and not removed."""
    marked = path.with_name(path.name + MARK)
    why = "a page of it could not be read" if marked.exists() else _look(path)
    if not why:
        return
    where = _free(path) if keep else None
    for ending in ("", *BESIDE):
        file = path.with_name(path.name + ending)
        if where is not None and file.exists():
            file.rename(where.with_name(where.name + ending))
        file.unlink(missing_ok=True)
    marked.unlink(missing_ok=True)
    log.error("%s was damaged (%s): %s, and it is begun anew", path, why, f"it is {where} now" if where else "removed")


def _look(path: Path) -> str:
    """What is wrong with it at first sight; empty when nothing is."""
    if not path.exists():
        return ""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if is_damage(error):
            return str(error)
    return ""


def _free(path: Path) -> Path:
    number = 1
    while (place := path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")).exists():
        number += 1
    return place
