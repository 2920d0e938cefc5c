"""Where the log lies: what the kernel asks of a store, whichever it is, and which one an address names."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from eventsourcing.persistence import IntegrityError, OperationalError, ProcessRecorder, Tracking

from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.files import make_once
from zcloud.kernel.record import Append, Record, RequestRecord

POSTGRESQL = ("postgresql://", "postgres://")
LOG, MARK = "log.db", "store"


class RequestTaken(Exception):
    """This request id is in the log already."""


class StoreAway(Refused, OperationalError):
    """The store does not answer: to the library a failure of the database, to a caller UNAVAILABLE."""

    def __init__(self, message: str) -> None:
        Refused.__init__(self, Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, message.strip())


class Store(ProcessRecorder):
    """An append-only log with one global order, gap-free and in order of commit, and what is atomic with it.

    Besides, the eventsourcing library's recorder interfaces. A store that is away raises StoreAway within seconds;
    it is used again as soon as it is back.
    """

    # Whether other nodes may write to it too: then positions between this node's own are theirs.
    shared: bool = False

    @abstractmethod
    def append_batch(self, appends: Sequence[Append]) -> list[list[Record] | Exception]:
        """Commit many decisions at once; one that conflicts fails alone, with those that rest on it.

        Gives for each the records as they were written (with positions, and with times that the store may have
        moved on so that they grow with position), or IntegrityError, or RequestTaken. One thread calls it.
        """

    @abstractmethod
    def read_stream(self, stream: str, after: int = 0, upto: int | None = None, by: int | None = None) -> list[Record]:
        """One aggregate's events after a version, up to a version, up to a global position."""

    def read_streams(self, streams: Sequence[str], upto: int, by: int) -> dict[str, list[Record]]:
        """The first events of many aggregates, up to a version and a global position; those that have any."""
        found = {stream: self.read_stream(stream, upto=upto, by=by) for stream in streams}
        return {stream: records for stream, records in found.items() if records}

    @abstractmethod
    def read_all(self, after: int, limit: int) -> list[Record]:
        """The log itself, in order, after a position."""

    @abstractmethod
    def read_positions(self, positions: Sequence[int]) -> list[Record]:
        """The events at these positions, in order."""

    @abstractmethod
    def head(self) -> int:
        """Position of the newest event, 0 when there is none."""

    @abstractmethod
    def last_time(self) -> int:
        """Time of the newest event, 0 when there is none."""

    @abstractmethod
    def find_request(self, account_uuid: str, request_id: str) -> RequestRecord | None:
        """The first answer to a request id."""

    @abstractmethod
    def forget_requests(self, before: int) -> int:
        """Drop answers older than a time; returns how many."""

    @abstractmethod
    def recall(self, key: str) -> str:
        """What was remembered under a key; empty when nothing was."""

    @abstractmethod
    def remember(self, key: str, make: str) -> str:
        """What is remembered under a key: what whoever came first has made."""

    def follow_to(self, name: str, position: int) -> None:
        """Keep how far somebody has followed the log; it goes forward only."""
        with contextlib.suppress(IntegrityError):
            self.insert_tracking(Tracking(name, position))

    def followed(self, name: str) -> int:
        """How far somebody has followed the log, 0 when nothing was ever kept."""
        return self.max_tracking_id(name) or 0

    def incarnation(self, make: str) -> str:
        """The store's own identity, made at its first start."""
        return self.remember("incarnation", make)

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection; the store can't be used afterwards."""


def leave_mark(directory: Path) -> None:
    """A node's directory whose cloud lies elsewhere says so: an empty cloud must not be begun in its place.

    Whoever has a log there may go back to it.
    """
    if not (directory / LOG).exists():
        make_once(directory / MARK, b"postgresql\n")


def open_store(directory: Path, address: str = "") -> Store:
    """The store at an address (postgresql://…); without one, SQLite in the directory."""
    if not address:
        from zcloud.kernel.store.sqlite import SqliteRecorder

        path, mark = directory / LOG, directory / MARK
        if mark.exists() and not path.exists():
            raise StoreAway(
                f"the cloud of {directory} lies in PostgreSQL: say where with --store postgresql://… or ZCLOUD_STORE;"
                f" to begin another cloud in this directory, without PostgreSQL, remove {mark} first"
            )
        if (directory / "views.db").exists() and not (path.exists() and path.stat().st_size):
            # A new log in its place would have the read models emptied, and agents refused.
            raise StoreAway(
                f"there is no log at {path}, and {directory} is of a cloud that had one: put the last backup there,"
                " or take another directory for another cloud"
            )
        return SqliteRecorder(path)
    if not address.startswith(POSTGRESQL):
        raise ValueError(f"{address.partition(':')[0]} is no kind of store; use postgresql://host/database")
    # The driver costs a moment and some memory, which a node on SQLite need not spend.
    from zcloud.kernel.store.postgres import PostgresRecorder

    return PostgresRecorder(address)
