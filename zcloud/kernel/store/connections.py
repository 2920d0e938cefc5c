"""Connections to PostgreSQL: few, with a deadline on everything, and made anew when the server went away."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from eventsourcing import persistence
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zcloud.kernel.store import StoreAway

V = TypeVar("V")
CONNECT_SECONDS = 3
STATEMENT_SECONDS = 5
# The server ends a statement that takes too long; this is for a server that no longer does anything.
SILENCE_SECONDS = STATEMENT_SECONDS + 2.0
# After a connection could not be made, others don't wait for the same.
PAUSE_SECONDS = 0.3

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)
_LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.ReadOnlySqlTransaction)


class Impatient(psycopg.Connection[tuple[Any, ...]]):
    """A connection that does not wait for ever."""

    silence = SILENCE_SECONDS

    def wait(
        self, gen: Generator[Any, Any, V], interval: float = 0.1, timeout: float | None = None
    ) -> V:  # the driver's own signature
        try:
            return super().wait(gen, interval, timeout or self.silence)
        except errors._WaitTimeout as error:
            self.close()  # what the server still does is not known: nothing else may follow on it
            raise psycopg.OperationalError("the database server has fallen silent") from error


def lost(connection: psycopg.Connection[Any] | None, error: BaseException) -> bool:
    """Whether the connection is of no more use; otherwise the server has told what is wrong, and did nothing."""
    return connection is None or connection.closed or isinstance(error, _LOST)


def conninfo(address: str, schema: str, statement_seconds: float = STATEMENT_SECONDS) -> str:
    """The address with what is not left to chance; several hosts may be named, the one that writes is used."""
    given: dict[str, Any] = conninfo_to_dict(address)
    milliseconds = int(statement_seconds * 1000)
    options = (
        f"-c search_path={schema} -c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        f" -c idle_in_transaction_session_timeout={milliseconds} -c timezone=UTC"
    )
    defaults = {
        "connect_timeout": CONNECT_SECONDS,
        "target_session_attrs": "read-write",
        "application_name": "zcloud",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": int(SILENCE_SECONDS * 1000),
    }
    return make_conninfo(**{**defaults, **given, "options": f"{given.get('options', '')} {options}".strip()})


@contextmanager
def translated() -> Iterator[None]:
    """The driver's errors as the library's."""
    try:
        yield
    except psycopg.Error as error:
        if isinstance(error, _AWAY):
            raise StoreAway(str(error)) from error
        if isinstance(error, psycopg.IntegrityError):
            raise persistence.IntegrityError(str(error)) from error
        raise persistence.PersistenceError(str(error)) from error


class Connections:
    """A bounded set of connections, each used by one thread at a time, in autocommit."""

    def __init__(self, address: str, schema: str, limit: int) -> None:
        self._conninfo = conninfo(address, schema)
        self._free = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[Impatient] = []
        self.closed = False
        self._not_before = 0.0
        self._why_not = ""

    @contextmanager
    def use(self) -> Iterator[Impatient]:
        """A connection that worked when it was last used. One that is lost takes its idle companions with it."""
        if not self._free.acquire(timeout=STATEMENT_SECONDS):
            raise psycopg.OperationalError("every connection to the database is busy")
        connection: Impatient | None = None
        try:
            connection = self._take()
            yield connection
        except BaseException as error:
            if connection is not None and (lost(connection, error) or not isinstance(error, psycopg.Error)):
                connection.close()
                self.drop_idle()
            raise
        finally:
            if connection is not None and not connection.closed:
                with self._lock:
                    self._idle.append(connection)
            self._free.release()
            if self.closed:
                self.drop_idle()

    def _take(self) -> Impatient:
        with self._lock:
            if self.closed:
                raise psycopg.OperationalError("the store is closed")
            if self._idle:
                return self._idle.pop()
            if time.monotonic() < self._not_before:
                raise psycopg.OperationalError(self._why_not)
        try:
            connection = Impatient.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            self._why_not = str(error)  # whoever comes meanwhile is told which server, and what is wrong with it
            self._not_before = time.monotonic() + PAUSE_SECONDS
            raise
        return connection

    def drop_idle(self) -> None:
        """What was connected to a server that went away is of no use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is no longer."""
        self.closed = True
        self.drop_idle()
