"""What a batch of decisions amounts to: positions, times, conflicts that fell no other, request ids. On both stores."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

import pytest
from eventsourcing.persistence import IntegrityError

from tests.kernel.store.appends import change
from tests.support.postgres import PostgresCluster
from zcloud.kernel.context import Actor
from zcloud.kernel.record import Append, Record, RequestRecord
from zcloud.kernel.store import RequestTaken, Store, StoreAway
from zcloud.kernel.store.postgres import PostgresRecorder
from zcloud.kernel.store.reading import SqlStore


def fates(store: Store, *appends: Append) -> list[str]:
    """What came of each, in short."""
    return [name(outcome) for outcome in store.append_batch(appends)]


def name(outcome: Sequence[Record] | Exception) -> str:
    if isinstance(outcome, RequestTaken):
        return "taken"
    if isinstance(outcome, IntegrityError):
        return "conflict"
    assert not isinstance(outcome, Exception), outcome
    return "-".join(str(p) for p in sorted({outcome[0].position, outcome[-1].position}))


def test_positions_are_given_in_order_without_a_gap(store: Store) -> None:
    assert fates(store, change("a", 0, 3), change("b", 0), change("a", 3)) == ["1-3", "4", "5"]
    assert fates(store, change("b", 1, 2)) == ["6-7"]
    assert [(r.position, r.originator_id, r.originator_version) for r in store.read_all(0, 100)] == [
        (1, "a", 1), (2, "a", 2), (3, "a", 3), (4, "b", 1), (5, "a", 4), (6, "b", 2), (7, "b", 3)
    ]  # fmt: skip
    assert store.head() == 7
    assert [r.position for r in store.read_all(4, 2)] == [5, 6]
    assert [r.position for r in store.read_positions([7, 2])] == [2, 7]
    assert store.read_positions([]) == []
    assert [r.originator_version for r in store.read_stream("a", after=1, upto=3)] == [2, 3]
    assert [r.originator_version for r in store.read_stream("a", by=4)] == [1, 2, 3]


def test_what_was_given_is_what_is_read(store: Store) -> None:
    given = Record(
        "stream", 1, "toy.Changed", "{\"ä\":\"'\\\\\"}".encode(), time=1_700_000_000_000_000, schema=3, kind="toy",
        resource_uuid="r", owner_uuid="o", zone_uuid="z", actor=Actor("u", "näme", "s", "1.2.3.4", True),
        origin="ChangeToy", request_id="q", causation_id="c", correlation_id="k", reason='weil {a,"b"} \\ NULL',
        job_uuid="j",
    )  # fmt: skip
    asked = RequestRecord("u", "q", "ChangeToy", b"\x00hash", b"\x00\xffanswer", 5)
    [written] = store.append_batch([Append([given], {"stream": 0}, {}, asked)])
    assert written == [dataclasses.replace(given, position=1)]
    assert store.read_all(0, 10) == written == store.read_stream("stream")
    assert store.find_request("u", "q") == dataclasses.replace(asked, position=1)
    assert store.last_time() == given.time


@pytest.mark.parametrize("decisions", [31, 32, 33, 65, 511, 545])
def test_a_batch_is_written_whole_however_many_they_are(store: Store, decisions: int) -> None:
    """Rows go to the store by as many at a time as a statement takes."""
    given = [change(f"s{n}", 0, 1 + n % 3, request=f"q{n}", time=n + 1) for n in range(decisions)]
    written = [r for outcome in store.append_batch(given) for r in outcome if not isinstance(outcome, Exception)]
    assert [(r.position, r.originator_id) for r in written] == list(
        enumerate((f"s{n}" for n in range(decisions) for _ in range(1 + n % 3)), 1)
    )
    assert store.read_all(0, 10 * decisions) == written
    for n in (0, decisions // 2, decisions - 1):
        first = store.find_request("account", f"q{n}")
        assert first is not None
        assert [r.originator_id for r in store.read_positions([first.position])] == [f"s{n}"]


def test_a_conflict_fells_itself_alone(store: Store) -> None:
    store.append_batch([change("a", 0), change("b", 0)])
    batch = [change("c", 0), change("a", 0), change("b", 1), change("e", 2), change("b", 1), change("d", 0)]
    assert fates(store, *batch) == ["3", "conflict", "4", "conflict", "conflict", "5"]
    assert store.head() == 5


def test_what_rests_on_a_conflict_falls_with_it(store: Store) -> None:
    store.append_batch([change("a", 0)])
    # The second thinks that the first was written; that a has this version already is another's doing.
    assert fates(store, change("a", 0), change("a", 1), change("b", 0, guards={"a": 1}), change("c", 0)) == [
        "conflict", "conflict", "conflict", "2"
    ]  # fmt: skip
    assert fates(store, change("b", 0, guards={"a": 1})) == ["3"]


def test_a_chain_falls_to_its_end(store: Store) -> None:
    store.append_batch([change("a", 0)])
    chain = [
        change("a", 0), change("b", 0, guards={"a": 1}), change("c", 0, guards={"b": 1}),
        change("d", 0, guards={"c": 1}), change("e", 0),
    ]  # fmt: skip
    assert fates(store, *chain) == ["conflict"] * 4 + ["2"]


def test_a_guard_holds_what_was_read(store: Store) -> None:
    store.append_batch([change("a", 0)])
    assert fates(store, change("b", 0, guards={"a": 0})) == ["conflict"]
    assert fates(store, change("b", 0, guards={"a": 1, "nothing": 0})) == ["2"]
    assert fates(store, change("a", 1), change("c", 0, guards={"a": 1}), change("d", 0, guards={"a": 2})) == [
        "3", "conflict", "4"
    ]  # fmt: skip


def test_several_streams_change_together_or_not_at_all(store: Store) -> None:
    store.append_batch([change("a", 0)])
    both = Append([*change("b", 0).records, *change("a", 0).records], {"b": 0, "a": 0})
    assert fates(store, both) == ["conflict"]
    assert store.read_stream("b") == []


def test_a_request_id_is_taken_once(store: Store) -> None:
    assert fates(store, change("a", 0, request="x"), change("b", 0, request="y")) == ["1", "2"]
    assert fates(store, change("c", 0, request="x"), change("d", 0), change("e", 0, request="z")) == ["taken", "3", "4"]
    found = store.find_request("account", "x")
    assert found is not None
    assert found.position == 1
    assert store.find_request("other account", "x") is None
    # In one batch the first is answered; the second asks for that answer.
    assert fates(store, change("f", 0, request="w"), change("g", 0, request="w")) == ["5", "taken"]
    assert store.read_stream("g") == []
    # What fell holds no request id.
    assert fates(store, change("a", 0, request="v"), change("h", 0, request="v"))[0] == "conflict"
    assert store.find_request("account", "v") is None or store.read_stream("h")


def test_a_request_that_changes_nothing_is_remembered_too(store: Store) -> None:
    store.append_batch([change("a", 0, 2)])
    [outcome] = store.append_batch([Append([], {}, {"a": 2}, RequestRecord("account", "x", "Rpc", b"", b"", 1))])
    assert outcome == []
    found = store.find_request("account", "x")
    assert found is not None
    assert found.position == 2


def test_old_requests_are_forgotten(store: Store) -> None:
    store.append_batch([change("a", 0, request="old", time=10), change("b", 0, request="new", time=20)])
    assert store.forget_requests(20) == 1
    assert store.find_request("account", "old") is None
    assert store.find_request("account", "new") is not None


def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert store.append_batch([]) == []
    assert (store.head(), store.last_time()) == (0, 0)


def test_the_incarnation_stays(open_again: Callable[[], Store]) -> None:
    assert open_again().incarnation("first") == "first"
    assert open_again().incarnation("second") == "first"


def test_one_that_cannot_be_stored_harms_no_other(postgres: PostgresCluster) -> None:
    store = PostgresRecorder(postgres.database())
    try:
        good, bad, last = store.append_batch([change("a", 0), change("b", 0, reason="a \0 in it"), change("c", 0)])
        assert (name(good), name(last)) == ("1", "2")
        assert isinstance(bad, Exception)
        assert not isinstance(bad, IntegrityError)
    finally:
        store.close()


@pytest.mark.parametrize("statement", ["UPDATE events SET reason='x'", "DELETE FROM events"])
def test_the_log_is_append_only(store: SqlStore, statement: str) -> None:
    store.append_batch([change("a", 0)])
    with pytest.raises(Exception, match="append-only"):
        store._rows(statement)
    assert len(store.read_all(0, 10)) == 1


def test_a_store_may_be_closed_while_it_is_read(store: Store) -> None:
    store.append_batch([change(f"s{n}", 0) for n in range(500)])
    told: list[Exception] = []
    began = threading.Barrier(5)

    def read() -> None:
        began.wait()
        try:
            while True:
                store.read_all(0, 500)
        except StoreAway as away:
            told.append(away)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    began.wait()
    store.close()
    for reader in readers:
        reader.join(10)
    assert len(told) == 4
    with pytest.raises(StoreAway):
        store.append_batch([change("late", 0)])
