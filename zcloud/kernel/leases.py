"""Who does what: work is shared out to the nodes by partition, for a time that must be renewed.

Owning only saves work; that nothing is done twice is seen to by versions, task ids and fences. The fence of a partition
is its epoch, which grows whenever it changes hands: what a node decides that was paused for too long is not written.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from zcloud.kernel.clock import SystemClock
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.keep import keeper, tell

log = logging.getLogger(__name__)
PARTITIONS = 64
LEASE_SECONDS = 10.0
# Of the lease time, between two heartbeats: one may be lost.
BEAT = 0.3
# How often a node that has joined looks whether it was noticed.
NOTICE_SECONDS = 0.1
Fence = tuple[int, int]
Change = Callable[[frozenset[int], frozenset[int]], None]


def partition_of(key: str) -> int:
    """The same on every node, for ever."""
    return hashlib.blake2b(key.encode(), digest_size=2).digest()[0] % PARTITIONS


def share(name: str, members: Iterable[str]) -> frozenset[int]:
    """The partitions that are this member's (rendezvous hashing): when one goes, only what was its own moves."""
    everyone = sorted(members)

    def weight(member: str, part: int) -> bytes:
        return hashlib.blake2b(f"{member}/{part}".encode(), digest_size=8).digest()

    return frozenset(
        p for p in range(PARTITIONS) if everyone and max(everyone, key=lambda member: weight(member, p)) == name
    )


@dataclass(frozen=True)
class Member:
    """A node as the store knows it. started, seen: microseconds by the store's clock; facts: what it says of
    itself; position: how far the log was when it was seen."""

    name: str
    instance: str
    alive: bool
    started: int
    seen: int
    facts: dict[str, Any]
    partitions: tuple[int, ...] = ()
    position: int = 0


class NotOwner(Refused):
    """This work is another node's now."""

    def __init__(self, key: str) -> None:
        super().__init__(Code.ABORTED, Reason.VERSION_MOVED, f"another node sees to {key} now")


class Replaced(Exception):
    """Another process has begun to serve under this node's name."""


class LeaseTable(Protocol):
    """Where the leases lie. Its clock is the store's, so that the nodes' own may be wrong."""

    def beat(self, name: str, instance: str, seconds: float, facts: dict[str, Any], *, join: bool) -> list[Member]:
        """Say that this member lives, for so long; gives every member. Raises Replaced."""
        ...

    def take(self, instance: str, wanted: frozenset[int]) -> dict[int, int]:
        """Let go of what is not wanted, take what is wanted and nobody's who lives; gives own partitions, epochs."""
        ...

    def leave(self, name: str, instance: str) -> None:
        """Let go of everything: others need not wait."""
        ...

    def members(self) -> list[Member]:
        """All that were seen within a day, with their partitions."""
        ...


class Leases(ABC):
    """What this node may see to."""

    name = ""
    instance = ""
    # Whether others may be alive too.
    together = False
    # By how many microseconds the store's clock is ahead of this machine's, as far as that is certain.
    ahead = 0

    def __init__(self) -> None:
        self._listeners: list[Change] = []

    def listen(self, listener: Change) -> None:
        """Call it in the event loop with the partitions that were gained, and those that were lost."""
        self._listeners.append(listener)

    def owns(self, key: str) -> bool:
        """Whether this node is the one that sees to it, for now."""
        return self.epoch_of(partition_of(key)) is not None

    def fence(self, key: str) -> Fence | None:
        """What a decision about it must bear; None where nobody else decides. Raises NotOwner."""
        part = partition_of(key)
        epoch = self.epoch_of(part)
        if epoch is None:
            raise NotOwner(key)
        return (part, epoch) if epoch else None

    @abstractmethod
    def epoch_of(self, part: int) -> int | None:
        """None when it is another node's; 0 when there are no others."""


class SoleOwner(Leases):
    """One node owns all."""

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name

    def epoch_of(self, part: int) -> int | None:  # noqa: ARG002 - the same for all
        return 0


class SharedLeases(Leases):
    """Leases in a table that the nodes share, renewed by a heartbeat.

    How long they hold is measured here from the moment before the heartbeat was sent, by a clock that goes on while
    the process is paused: whoever wakes up too late knows it before it does anything.
    """

    def __init__(
        self,
        table: LeaseTable,
        name: str,
        instance: str,
        facts: Callable[[], dict[str, Any]],
        seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.instance, self.seconds = name, instance, seconds
        self.members: list[Member] = []
        self._table, self._facts, self._monotonic = table, facts, monotonic
        self._clock = clock or SystemClock().now
        self._epochs: dict[int, int] = {}
        self._until = 0.0
        self._gone: list[Callable[[set[str]], None]] = []
        # Instances that are no longer alive, of which nobody was told yet.
        self._missed: set[str] = set()
        self._beaten: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    def epoch_of(self, part: int) -> int | None:
        return self._epochs.get(part) if self._monotonic() < self._until else None

    def alive(self, instance: str) -> bool:
        """Whether this process was alive at the newest heartbeat."""
        return instance == self.instance or any(m.alive and m.instance == instance for m in self.members)

    def on_gone(self, listener: Callable[[set[str]], None]) -> None:
        """Call it in the event loop with the instances that were alive and are no longer."""
        self._gone.append(listener)

    def on_beat(self, listener: Callable[[], None]) -> None:
        """Call it in the event loop after each heartbeat, when members are known anew."""
        self._beaten.append(listener)

    async def start(self) -> None:
        """Join, and own what is free; returns when the others know that they are not alone any more."""
        await self._beat(join=True)
        await self._beat()
        joined = next((m.seen for m in self.members if m.instance == self.instance), 0)
        while any(m.alive and m.seen <= joined for m in self.members if m.instance != self.instance):
            await asyncio.sleep(NOTICE_SECONDS)
            await self._beat()
        self._task = keeper(self._run, "leases")

    async def close(self) -> None:
        """Let go of everything."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._own({})
            try:
                await asyncio.to_thread(self._table.leave, self.name, self.instance)
            except Refused as refused:
                log.warning("others wait for this node's leases to end: %s", refused.message)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.seconds * BEAT)
            try:
                await self._beat()
            except Refused as refused:
                log.warning("the leases could not be renewed: %s", refused.message)
            except Replaced:
                log.critical("another process serves as %s: this one sees to nothing any more", self.name)
                self._own({})
                return
            except Exception:
                log.exception("the leases could not be renewed")

    async def _beat(self, *, join: bool = False) -> None:
        began, before_it = self._monotonic(), self._clock()
        members = await asyncio.to_thread(
            self._table.beat, self.name, self.instance, self.seconds, self._facts(), join=join
        )
        self._compare_clocks(
            before_it, self._clock(), next((m.seen for m in members if m.instance == self.instance), 0)
        )
        living = {m.instance for m in members if m.alive}
        self._missed = {m.instance for m in self.members if m.alive} - living | self._missed - living
        self.members = members
        # Also with those that are thought dead: they may be paused only, and answer yet.
        self.together = len(members) > 1
        wanted = share(self.name, [m.name for m in members if m.alive])
        # What is let go is no longer seen to when others may take it.
        self._own({part: epoch for part, epoch in self._epochs.items() if part in wanted})
        epochs = await asyncio.to_thread(self._table.take, self.instance, wanted)
        # For a while nobody owned it: who looked then has let it be, and must hear of it even if no other came between.
        lapsed = self._monotonic() >= self._until
        self._until = began + self.seconds
        self._own(epochs, anew=lapsed)
        gone, self._missed = self._missed, set()
        if gone:
            tell(self._gone, gone)
        tell(self._beaten)

    def _compare_clocks(self, before: int, after: int, seen: int) -> None:
        """The store looked at its clock in between: what lies outside is not the way there and back, but its clock."""
        if seen:
            self.ahead = seen - min(max(seen, before), after)

    def _own(self, epochs: dict[int, int], *, anew: bool = False) -> None:
        # A partition with another epoch was somebody else's in between.
        lost = frozenset(p for p, epoch in self._epochs.items() if epochs.get(p) != epoch)
        gained = frozenset(p for p, epoch in epochs.items() if anew or self._epochs.get(p) != epoch)
        self._epochs = epochs
        if gained or lost:
            tell(self._listeners, gained, lost)
