"""Snapshots: every kind comes back from one as it was; long streams begin at the newest that can be trusted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.history.test_history import event_of as sample
from tests.history.test_history import life
from zcloud.domain.infrastructure.zone import Zone
from zcloud.kernel import event as events
from zcloud.kernel import snapshot
from zcloud.kernel.aggregate import Aggregate, kinds
from zcloud.kernel.record import Record
from zcloud.kernel.snapshot import EVERY, Snapshot, load, restore, take
from zcloud.kernel.store.sqlite import SqliteRecorder

UUID = "5" * 32
LONG = 5 * EVERY + 17
KINDS = sorted(kind for kind, cls in kinds().items() if cls.__module__.startswith("zcloud."))


class Kept:
    """Snapshots in memory."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self.all = snapshots

    def newest(self, stream: str, by: int | None = None) -> Snapshot | None:
        found = [s for s in self.all if s.stream == stream and (by is None or s.position <= by)]
        return max(found, key=lambda s: s.version, default=None)


def state(aggregate: Aggregate | None) -> dict[str, Any]:
    assert aggregate is not None
    return {**vars(aggregate), "class": type(aggregate)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_it_was(kind: str) -> None:
    """At every moment of a life in which everything happens."""
    made = kinds()[kind].blank(UUID, 3)
    for n, key in enumerate(life(kind), 4):
        made.fold(sample(*key), n)
        record = Record(made.stream, made.version, key[0], b"", position=n)
        again = restore(take(made, record))
        assert state(again) == state(made), key


def record(version: int, event: events.Event, shift: int = 0) -> Record:
    position = version * 2 + shift
    return Record(
        UUID, version, event.topic, events.encode(event), position=position, time=position, resource_uuid=UUID
    )


class Counting(SqliteRecorder):
    """Counts what is read of it."""

    read = 0

    def read_stream(self, *given: Any, **named: Any) -> list[Record]:
        found = super().read_stream(*given, **named)
        self.read += len(found)
        return found


@pytest.fixture
def long(tmp_path: Path) -> tuple[Counting, Kept]:
    """A zone that was renamed very often."""
    store = Counting(tmp_path / "log.db")
    records = [record(1, Zone.Created(name="z1"))]  # type: ignore[attr-defined]
    records += [record(n, Zone.Updated(name=f"z{n}")) for n in range(2, LONG + 1)]
    with store._transaction() as connection:
        store._insert(connection, records)
    zone, taken = Zone.blank(UUID), []
    for one in records:
        zone.fold(events.decode(one.topic, one.schema, one.state), one.time)
        if one.originator_version % EVERY == 0:
            taken.append(take(zone, one))
    return store, Kept(*taken)


def test_a_long_stream_is_read_from_its_newest_snapshot(long: tuple[Counting, Kept]) -> None:
    store, kept = long
    for version in (1, 5, EVERY - 1, EVERY, EVERY + 1, 3 * EVERY - 1, 3 * EVERY, 4 * EVERY + 3, LONG):
        for by in (version * 2, version * 2 + 1):
            whole, position = load(store, UUID, by=by)
            store.read = 0
            found, at = load(store, UUID, by=by, snapshots=kept)
            assert (state(found), at) == (state(whole), position)
            assert store.read <= 2 * EVERY + 1
    newest, _ = load(store, UUID, snapshots=kept)
    assert newest is not None
    assert (newest.version, newest.name) == (LONG, f"z{LONG}")  # type: ignore[attr-defined]
    assert load(store, "6" * 32, snapshots=kept) == (None, 0)


def test_a_snapshot_that_cannot_be_trusted_is_passed_over(
    long: tuple[Counting, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other code, of another log, damaged, or of a kind that is no more: the stream is folded from its beginning."""
    store, kept = long
    whole, _ = load(store, UUID)
    last = kept.all[-1]
    spoiled = Zone.blank(UUID, last.version)
    spoiled.fold(Zone.Created(name="spoiled"), 1)  # type: ignore[attr-defined]
    wrong = take(spoiled, record(last.version, Zone.Updated(name="spoiled")))
    for changed in (
        dataclasses.replace(wrong, code="of yesterday"),
        dataclasses.replace(wrong, position=wrong.position + 1),
        dataclasses.replace(wrong, version=wrong.version + LONG, position=wrong.position + 2 * LONG),
        dataclasses.replace(wrong, state=b"\xc1 no such thing"),
        dataclasses.replace(wrong, kind="no_such_kind"),
    ):
        found, _ = load(store, UUID, snapshots=Kept(changed))
        assert state(found) == state(whole), changed
    assert load(store, UUID, snapshots=Kept(wrong))[0].name == f"z{LONG}"  # type: ignore[union-attr]
    monkeypatch.setattr(snapshot.inspect, "getsource", lambda module: f"other {module.__name__}")
    snapshot.code_of.cache_clear()
    try:
        assert restore(last) is None
    finally:
        snapshot.code_of.cache_clear()
