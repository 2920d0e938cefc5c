"""PostgreSQL goes away around a commit: what was committed is known, what was not is written once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.kernel.store.appends import change
from tests.support.postgres import PostgresCluster
from zcloud.kernel import failpoint
from zcloud.kernel.record import Record
from zcloud.kernel.store import RequestTaken, StoreAway
from zcloud.kernel.store.connections import Impatient
from zcloud.kernel.store.postgres import PostgresRecorder


@pytest.fixture
def address(postgres: PostgresCluster) -> str:
    return postgres.database()


@pytest.fixture
def store(address: str) -> Iterator[PostgresRecorder]:
    made = PostgresRecorder(address)
    made.append_batch([change("before", 0)])
    yield made
    made.close()


def positions(outcome: list[Record] | Exception) -> list[int]:
    assert not isinstance(outcome, Exception), outcome
    return [r.position for r in outcome]


@pytest.mark.parametrize("place", ["postgres.send", "postgres.sent"])
def test_an_answer_that_is_lost_is_looked_up(store: PostgresRecorder, address: str, place: str) -> None:
    cuts = []

    def cut() -> None:
        if not cuts:
            cuts.append(place)
            with psycopg.connect(address, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
                    " WHERE datname=current_database() AND pid<>pg_backend_pid()"
                )
            if place == "postgres.sent":
                raise psycopg.errors.AdminShutdown("the answer was lost")

    failpoint.arm(place, cut)
    outcomes = store.append_batch([change("a", 0, 2, request="x"), change("before", 0), change("b", 0)])
    assert cuts
    assert [positions(outcomes[0]), positions(outcomes[2])] == [[2, 3], [4]]
    assert isinstance(outcomes[1], Exception)
    assert store.read_all(1, 10) == [*outcomes[0], *outcomes[2]]  # type: ignore[misc]
    assert isinstance(store.append_batch([change("a", 0, 2, request="x")])[0], RequestTaken)
    assert store.append_batch([change("a", 2)])[0][0].position == 5  # type: ignore[index]


def test_a_commit_that_comes_late_is_shut_out(
    store: PostgresRecorder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gives up while its statement waits for the head; only the server knows of it any more."""
    monkeypatch.setattr(Impatient, "silence", 0.3)
    monkeypatch.setattr("zcloud.kernel.store.postgres.PATIENCE_SECONDS", 120.0)
    found: list[list[Record] | Exception] = []
    with psycopg.connect(address) as other, psycopg.connect(address, autocommit=True) as looking:
        other.execute("SELECT * FROM zcloud.head FOR UPDATE")
        writing = threading.Thread(target=lambda: found.extend(store.append_batch([change("a", 0, 3)])))
        writing.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%append_batch%' AND wait_event_type='Lock'"
        end = time.monotonic() + 60
        # Until the first statement and one of those that follow it wait.
        while (row := looking.execute(waiting).fetchone()) is None or row[0] < 2:
            assert writing.is_alive()
            assert time.monotonic() < end
            time.sleep(0.05)
    writing.join()
    assert positions(found[0]) == [2, 3, 4]
    assert store.head() == 4
    assert store.append_batch([change("a", 3)])[0][0].position == 5  # type: ignore[index]


def test_a_server_that_falls_silent_is_away_soon_and_used_again(
    store: PostgresRecorder, postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Impatient, "silence", 0.3)
    monkeypatch.setattr("zcloud.kernel.store.postgres.PATIENCE_SECONDS", 0.1)
    # Who could not connect does not try again at once; here that would only be waiting.
    monkeypatch.setattr("zcloud.kernel.store.connections.PAUSE_SECONDS", 0.0)
    postgres.pause()
    try:
        with pytest.raises(StoreAway):
            store.append_batch([change("a", 0, request="x")])
        with pytest.raises(StoreAway):
            store.head()
    finally:
        postgres.go_on()
    monkeypatch.undo()
    # It may have been written or not; asked again, the answer is right.
    [again] = store.append_batch([change("a", 0, request="x")])
    assert isinstance(again, RequestTaken) or positions(again) == [2]
    assert [(r.position, r.originator_id) for r in store.read_all(0, 10)] == [(1, "before"), (2, "a")]


def test_a_server_that_is_gone_is_away_at_once(
    store: PostgresRecorder, postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zcloud.kernel.store.postgres.PATIENCE_SECONDS", 0.2)
    postgres.kill()
    try:
        for ask in (store.head, lambda: store.append_batch([change("a", 0)])):
            with pytest.raises(StoreAway) as away:
                ask()
            assert away.value.code.name == "UNAVAILABLE"
    finally:
        postgres.start()
    monkeypatch.undo()
    assert positions(store.append_batch([change("a", 0)])[0]) == [2]


def test_a_database_that_forgets_is_refused(address: str) -> None:
    name = address.rpartition("/")[2]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit=off".encode())
    with pytest.raises(Exception, match="synchronous_commit"):
        PostgresRecorder(address)
