"""A small log with checkpoints, and what a person with a SQL prompt may do to it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zcloud.kernel.context import Actor
from zcloud.kernel.proof.notary import Notary
from zcloud.kernel.proof.raw import Row, open_raw
from zcloud.kernel.record import Record
from zcloud.kernel.store.rows import COLUMNS
from zcloud.kernel.store.sqlite import SqliteRecorder

STORE = "a" * 32
NOW = 1_700_000_000_000_000


def records(first: int, number: int) -> list[Record]:
    """Events of a handful of resources."""
    made = []
    for n in range(first, first + number):
        stream = f"{n % 7:032x}"
        made.append(
            Record(
                stream,
                n // 7 + 1,
                "zone.Updated",
                b'{"name":"zone %d"}' % n,
                time=NOW + n,
                kind="zone",
                resource_uuid=stream,
                owner_uuid="0" * 32,
                actor=Actor(account_name="alice", source=f"10.0.0.{n % 250}:1"),
                origin="UpdateZone",
                request_id=f"r-{n}",
                correlation_id=f"{n:032x}",
                reason="because" if n % 3 else "",
            )
        )
    return made


def log_with_checkpoints(directory: Path, number: int, every: int) -> None:
    """number records, a checkpoint after each `every` of them."""
    directory.mkdir(exist_ok=True)
    store = SqliteRecorder(directory / "log.db")
    store.incarnation(STORE)
    raw = open_raw(directory)
    notary = Notary(raw, directory, STORE)
    for first in range(0, number, every):
        store.insert_events(records(first, min(every, number - first)))
        while notary.extend(every // 2 + 1):
            pass
        notary.sign(NOW + first)
    notary.close()
    raw.close()
    store.close()
    with sqlite3.connect(directory / "log.db") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def rows_of(directory: Path) -> list[Row]:
    """All rows as they lie there."""
    raw = open_raw(directory)
    found = [row for rows in raw.rows(-(1 << 62)) for row in rows]
    raw.close()
    return found


def copy(directory: Path, to: Path) -> Path:
    """The same log, for someone to lay hands on."""
    shutil.copytree(directory, to)
    return to


def _other(value: Any, chance: random.Random) -> Any:
    if isinstance(value, int):
        return value + chance.choice((1, -1, 100_000))
    if isinstance(value, bytes):
        at = chance.randrange(len(value))
        return value[:at] + bytes([value[at] ^ (1 << chance.randrange(7))]) + value[at + 1 :]
    return chance.choice((value + "x", value[:-1] + "\x1f", "", value.encode(), b"\xff\xfe" + value.encode()))


class Hands:
    """Tampering, of every kind there is."""

    def __init__(self, path: Path, chance: random.Random, last: int) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.execute("PRAGMA synchronous=OFF")
        self.chance = chance
        self.last = last
        names = "events_are_never_changed", "events_are_never_removed"
        for name in names:
            self.connection.execute(f"DROP TRIGGER {name}")

    def do(self, what: str, position: int = 0) -> None:
        """One of KINDS, somewhere unless it is said where."""
        with self.connection:
            getattr(self, what)(position or self.chance.randint(1, self.last))
        self.connection.close()

    def _set(self, position: int, values: Sequence[Any], columns: Sequence[str] = COLUMNS) -> None:
        sets = ", ".join(f"{column}=?" for column in columns)
        self.connection.execute(f"UPDATE events SET {sets} WHERE position=?", (*values, position))

    def _row(self, position: int) -> Row:
        return tuple(self.connection.execute("SELECT * FROM events WHERE position=?", (position,)).fetchone())

    def _shift(self, after: int, by: int) -> None:
        self.connection.execute("UPDATE events SET position=-position WHERE position>?", (after,))
        self.connection.execute("UPDATE events SET position=-position+? WHERE position<0", (by,))

    def alter(self, position: int) -> None:
        """Any column of one record but its position."""
        column = self.chance.choice([c for c in COLUMNS if c != "position"])
        old = self._row(position)[COLUMNS.index(column)]
        new = old
        while new == old:
            new = _other(old, self.chance)
        if column == "version":
            new = old + 100_000  # a stream has each version once
        self._set(position, (new,), (column,))

    def delete(self, position: int) -> None:
        """One record, leaving a gap."""
        self.connection.execute("DELETE FROM events WHERE position=?", (position,))

    def close_up(self, position: int) -> None:
        """One record, closing the gap."""
        self.delete(position)
        self._shift(position, -1)

    def truncate(self, position: int) -> None:
        """All from one record on."""
        self.connection.execute("DELETE FROM events WHERE position>=?", (position,))

    def swap(self, position: int) -> None:
        """Two records change places."""
        other = position % self.last + 1 if self.chance.random() < 0.5 else self.chance.randint(1, self.last)
        if other == position:
            other = position % self.last + 1
        for old, new in ((position, -1), (other, position), (-1, other)):
            self._set(old, (new,), ("position",))

    def move(self, position: int) -> None:
        """One record to the end, or before the beginning."""
        self._set(position, (self.chance.choice((10**9, 0, -5)),), ("position",))

    def insert(self, position: int) -> None:
        """A record that never was; the others move on."""
        row = self._row(position)
        self._shift(position - 1, 1)
        made = (position, "f" * 32, 1, *row[3:])
        self.connection.execute(f"INSERT INTO events VALUES ({','.join('?' * len(made))})", made)

    def insert_before(self, position: int) -> None:
        """A record before the beginning, where nobody looks who reads the log in order."""
        made = (self.chance.choice((0, -position)), "f" * 32, 1, *self._row(position)[3:])
        self.connection.execute(f"INSERT INTO events VALUES ({','.join('?' * len(made))})", made)


KINDS = ("alter", "delete", "close_up", "truncate", "swap", "move", "insert", "insert_before")
