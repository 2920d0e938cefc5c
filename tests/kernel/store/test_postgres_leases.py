"""Leases in a real PostgreSQL, and a log that refuses what was decided under a stale one (ARC-14, MN-02)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from eventsourcing.persistence import IntegrityError

from tests.kernel.store.appends import change
from tests.support.postgres import PostgresCluster
from zcloud.kernel.leases import Replaced
from zcloud.kernel.record import Append
from zcloud.kernel.store.postgres import PostgresRecorder
from zcloud.kernel.store.postgres_leases import PostgresLeases

ALL = frozenset(range(64))
Stores = tuple[PostgresRecorder, PostgresLeases]


@pytest.fixture
def stores(postgres: PostgresCluster) -> Iterator[Stores]:
    address = postgres.database()
    recorder, table = PostgresRecorder(address), PostgresLeases(address)
    yield recorder, table
    recorder.close()
    table.close()


def fenced(stream: str, fence: tuple[int, int] | None) -> Append:
    made = change(stream, 0)
    made.fence = fence
    return made


def test_a_lease_is_its_owners_until_that_is_dead(stores: Stores) -> None:
    _, table = stores
    table.beat("a", "a1", 60, {"x": 1}, join=True)
    assert table.take("a1", ALL) == dict.fromkeys(range(64), 1)
    table.beat("b", "b1", 60, {}, join=True)
    assert table.take("b1", frozenset({1, 2})) == {}
    assert table.take("a1", ALL - {1}) == dict.fromkeys(ALL - {1}, 1)
    assert table.take("b1", frozenset({1, 2})) == {1: 2}
    table.beat("a", "a1", 0.01, {}, join=False)
    time.sleep(0.05)
    assert [(m.name, m.alive, len(m.partitions)) for m in table.members()] == [("a", False, 63), ("b", True, 1)]
    assert table.take("b1", frozenset({1, 2})) == {1: 2, 2: 2}
    table.leave("b", "b1")
    assert [m.name for m in table.members()] == ["a"]
    assert table.take("a1", ALL)[1] == 3


def test_a_newer_process_of_the_same_name_replaces_the_older(stores: Stores) -> None:
    _, table = stores
    table.beat("a", "a1", 60, {}, join=True)
    table.take("a1", ALL)
    table.beat("a", "a2", 60, {}, join=True)
    assert table.take("a2", ALL) == dict.fromkeys(range(64), 2)
    with pytest.raises(Replaced):
        table.beat("a", "a1", 60, {}, join=False)


def test_a_stale_fence_is_a_conflict_and_so_is_what_rests_on_it(stores: Stores) -> None:
    recorder, table = stores
    table.beat("a", "a1", 60, {}, join=True)
    table.take("a1", ALL)
    table.beat("a", "a2", 60, {}, join=True)
    table.take("a2", ALL)
    follows = change("one", 1)
    found = recorder.append_batch(
        [fenced("one", (7, 1)), follows, fenced("two", (7, 2)), fenced("three", None), fenced("four", (7, 3))]
    )
    fates = ["conflict" if isinstance(f, IntegrityError) else f[0].position for f in found]  # type: ignore[index]
    assert fates == ["conflict", "conflict", 1, 2, "conflict"]
    table.leave("a", "a2")
    assert isinstance(recorder.append_batch([fenced("five", (7, 2))])[0], IntegrityError)


def test_whose_a_hosts_session_is(stores: Stores) -> None:
    _, table = stores
    table.beat("a", "a1", 60, {}, join=True)
    table.beat("b", "b1", 60, {}, join=True)
    table.session_opened("host", "a1")
    table.session_opened("host", "b1")
    table.session_closed("host", "a1")
    assert table.session_of("host") == "b1"
    table.beat("b", "b1", 0, {}, join=False)
    assert table.session_of("host") == ""
