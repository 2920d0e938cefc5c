"""Shares, and leases that are renewed, lost and taken over, on a clock that the test turns (ARC-14)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from zcloud.kernel import leases
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.leases import (
    BEAT,
    PARTITIONS,
    Member,
    NotOwner,
    Replaced,
    SharedLeases,
    SoleOwner,
    partition_of,
    share,
)


def test_shares_are_a_partition_of_the_work_and_move_little() -> None:
    before = {name: share(name, ["a", "b", "c"]) for name in "abc"}
    assert sorted(part for parts in before.values() for part in parts) == list(range(PARTITIONS))
    assert all(len(parts) >= 8 for parts in before.values())
    after = {name: share(name, ["c", "a"]) for name in "ac"}
    assert before["a"] < after["a"]
    assert before["c"] < after["c"]
    assert share("a", []) == frozenset()


def test_a_key_is_in_the_same_partition_for_ever() -> None:
    assert [partition_of(key) for key in ("", "a", "read models")] == [49, 30, 56]
    assert {partition_of(str(n)) for n in range(2000)} == set(range(PARTITIONS))


def test_one_node_owns_all_and_needs_no_fence() -> None:
    assert SoleOwner().owns("anything")
    assert SoleOwner().fence("anything") is None


class Table:
    """A lease table in memory. Who lives is what the test says."""

    def __init__(self) -> None:
        self.instances: dict[str, str] = {}
        self.dead: set[str] = set()
        self.leases: dict[int, tuple[str, int]] = dict.fromkeys(range(PARTITIONS), ("", 0))

    def beat(self, name: str, instance: str, seconds: float, facts: dict[str, Any], *, join: bool) -> list[Member]:
        del seconds
        if not join and self.instances.get(name) != instance:
            raise Replaced(name)
        self.instances[name] = instance
        return [Member(n, i, i not in self.dead, 0, 0, facts) for n, i in self.instances.items()]

    def take(self, instance: str, wanted: frozenset[int]) -> dict[int, int]:
        living = set(self.instances.values()) - self.dead
        for part, (owner, epoch) in self.leases.items():
            if owner == instance and part not in wanted:
                self.leases[part] = ("", epoch)
            elif owner != instance and part in wanted and owner not in living:
                self.leases[part] = (instance, epoch + 1)
        return {part: epoch for part, (owner, epoch) in self.leases.items() if owner == instance}

    def leave(self, name: str, instance: str) -> None:
        self.take(instance, frozenset())
        del self.instances[name]

    def members(self) -> list[Member]:
        return []


class Node:
    def __init__(self, table: Table, name: str, instance: str = "") -> None:
        self.now = 0.0
        self.leases = SharedLeases(table, name, instance or name * 2, dict, 10.0, lambda: self.now)
        self.changes: list[tuple[int, int]] = []
        self.leases.listen(lambda gained, lost: self.changes.append((len(gained), len(lost))))

    @property
    def owned(self) -> set[int]:
        return {part for part in range(PARTITIONS) if self.leases.epoch_of(part) is not None}


def on_nodes(body: Callable[[Table, Node, Node], Awaitable[None]]) -> None:
    table = Table()
    asyncio.run(body(table, Node(table, "a"), Node(table, "b")))  # type: ignore[arg-type]


def test_what_is_released_is_taken_and_what_a_dead_node_had_too() -> None:
    async def body(table: Table, a: Node, b: Node) -> None:
        await a.leases._beat(join=True)
        assert a.owned == set(range(PARTITIONS))
        assert not a.leases.together
        await b.leases._beat(join=True)
        assert b.owned == set()
        await a.leases._beat()
        await b.leases._beat()
        assert a.leases.together
        assert a.owned | b.owned == set(range(PARTITIONS))
        assert not a.owned & b.owned
        gone: list[set[str]] = []
        b.leases.on_gone(gone.append)
        table.dead.add("aa")
        moved = a.owned
        await b.leases._beat()
        assert gone == [{"aa"}]
        assert b.owned == set(range(PARTITIONS))
        # It had been paused: its epochs are of the past, whatever it believes.
        table.dead.clear()
        assert all(table.leases[part][1] > a.leases._epochs[part] for part in moved)
        await a.leases._beat()
        assert a.owned == set()
        assert a.changes[-1] == (0, len(moved))

    on_nodes(body)


class Timed(Table):
    """Who lives is who was seen in time, by its own clock, as in the store's."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.until: dict[str, float] = {}
        self.away = 0

    def beat(self, name: str, instance: str, seconds: float, facts: dict[str, Any], *, join: bool) -> list[Member]:
        if self.away:
            self.away -= 1
            raise Refused(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, "the store is away")
        self.until[instance] = self.now + seconds
        self.dead = {i for i, until in self.until.items() if until <= self.now}
        return super().beat(name, instance, seconds, facts, join=join)


@pytest.mark.parametrize("phase", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("lost", [0, 1])
def test_work_of_a_dead_node_is_taken_over_within_two_lease_times(
    phase: float, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MN-02. phase: of the heartbeats' interval, by which they are apart; lost: heartbeats that the store lost then."""
    table, found = Timed(), []

    class Over(BaseException):
        pass

    async def sleep(seconds: float) -> None:
        table.now += seconds
        if table.now > 1000:
            raise Over

    async def body() -> None:
        a, b = (Node(table, name) for name in "ab")  # type: ignore[arg-type]
        for node in (a, b):
            node.leases._monotonic = lambda: table.now
            await node.leases._beat(join=True)
        for node in (a, b, a, b):
            await node.leases._beat()
        table.now = b.leases.seconds * BEAT * phase
        await a.leases._beat()  # the last of its life
        table.away, dies = lost, table.now
        table.now = 0.0

        def gained(_: frozenset[int], __: frozenset[int]) -> None:
            if b.owned == set(range(PARTITIONS)):
                found.append(table.now - dies)

        b.leases.listen(gained)
        monkeypatch.setattr(leases.asyncio, "sleep", sleep)
        with pytest.raises(Over):
            await b.leases._run()

    asyncio.run(body())
    assert len(found) == 1, "it is taken over once"
    assert 10.0 <= found[0] <= 2 * 10.0, "neither from a node that may live, nor too late"


def test_who_is_gone_is_told_of_though_the_store_went_away_between_and_whatever_hears_it() -> None:
    """Else hosts of a node that died would stay Connected, and its jobs would be driven by nobody, for ever."""

    async def body(table: Table, a: Node, b: Node) -> None:
        def breaks(*_: object) -> None:
            raise ZeroDivisionError

        b.leases._listeners.insert(0, breaks)
        b.leases.on_gone(breaks)
        b.leases.on_beat(breaks)
        gone: list[set[str]] = []
        beats: list[int] = []
        b.leases.on_gone(gone.append)
        b.leases.on_beat(lambda: beats.append(1))
        await a.leases._beat(join=True)
        await b.leases._beat(join=True)
        table.dead.add("aa")
        take, beaten = table.take, len(beats)
        table.take = breaks  # type: ignore[method-assign, assignment]
        with pytest.raises(ZeroDivisionError):
            await b.leases._beat()
        assert not gone
        table.take = take  # type: ignore[method-assign]
        await b.leases._beat()
        await b.leases._beat()
        assert gone == [{"aa"}]
        assert len(beats) == beaten + 2
        assert b.changes == [(PARTITIONS, 0)]

    on_nodes(body)


def test_who_wakes_up_too_late_owns_nothing_until_it_is_told_so() -> None:
    async def body(_: Table, a: Node, __: Node) -> None:
        await a.leases._beat(join=True)
        a.now = 9.9
        assert a.leases.fence("job") == (partition_of("job"), 1)
        a.now = 10.0
        assert not a.leases.owns("job")
        with pytest.raises(NotOwner):
            a.leases.fence("job")
        await a.leases._beat()
        # Nobody had taken it meanwhile: it goes on with what it has, also with what it has let be when it asked.
        assert a.leases.fence("job") == (partition_of("job"), 1)
        assert a.changes == [(PARTITIONS, 0), (PARTITIONS, 0)]
        a.now = 15.0
        await a.leases._beat()
        assert len(a.changes) == 2

    on_nodes(body)


def test_a_node_that_is_started_again_has_its_work_at_once_and_new_epochs() -> None:
    async def body(table: Table, a: Node, __: Node) -> None:
        await a.leases._beat(join=True)
        again = Node(table, "a", "another process")
        await again.leases._beat(join=True)
        assert again.leases.fence("job") == (partition_of("job"), 2)
        with pytest.raises(Replaced):
            await a.leases._beat()

    on_nodes(body)


def test_how_wrong_this_machines_clock_is_for_certain() -> None:
    """The way to the store and back is no difference of clocks (MN-02)."""

    class Stamped(Table):
        seen = 0

        def beat(self, *values: Any, **how: Any) -> list[Member]:
            found = super().beat(*values, **how)
            return [Member(m.name, m.instance, m.alive, 0, self.seen, m.facts) for m in found]

    async def body() -> None:
        table, times = Stamped(), [0]
        leases = SharedLeases(table, "a", "aa", dict, 10.0, lambda: 0.0, lambda: times.pop(0))  # type: ignore[arg-type]
        for before, after, seen, ahead in (
            (1000, 1400, 1200, 0), (1000, 1400, 9400, 8000), (1000, 1400, 400, -600), (1000, 1400, 0, -600),
        ):  # fmt: skip
            times[:], table.seen = [before, after], seen
            await leases._beat(join=True)
            assert leases.ahead == ahead

    asyncio.run(body())
    assert SoleOwner().ahead == 0
