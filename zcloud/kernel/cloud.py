"""Loads aggregates, lets them decide, appends what they decided: all of one decision or nothing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from zcloud.kernel import event as events
from zcloud.kernel.aggregate import Aggregate
from zcloud.kernel.clock import Clock, SystemClock
from zcloud.kernel.context import Context, by_node
from zcloud.kernel.errors import Code, Conflict, Reason, Refused
from zcloud.kernel.ids import Ids, TimedIds
from zcloud.kernel.keep import tell
from zcloud.kernel.leases import Leases, SoleOwner
from zcloud.kernel.log import Log
from zcloud.kernel.record import Append, Record, RequestRecord
from zcloud.kernel.resource import Resource
from zcloud.kernel.settle import settle
from zcloud.kernel.snapshot import Snapshots, load
from zcloud.kernel.unit import Unit

T = TypeVar("T")
R = TypeVar("R", bound=Resource)
ATTEMPTS = 20
CACHED = 200_000


@dataclass
class Decision:
    """What came of a unit: the body's value, the records that were (or would be) written, the log's position.

    decided: the time that the body saw; what was written may bear a later one. followed: what the plan tells besides.
    """

    value: Any
    records: list[Record] = field(default_factory=list)
    position: int = 0
    decided: int = 0
    followed: list[Any] = field(default_factory=list)


class Cloud:
    """The write side of one node."""

    def __init__(
        self, log: Log, clock: Clock | None = None, ids: Ids | None = None, leases: Leases | None = None
    ) -> None:
        self.log = log
        self.leases: Leases = leases or SoleOwner()
        self.clock: Clock = clock or SystemClock()
        self.ids: Ids = ids or TimedIds()
        self.ports: dict[str, Any] = {}
        # Whether the log may be one that was begun when derived uuids were of version 5.
        self.older = True
        # Without them long streams are folded from their beginning.
        self.snapshots: Snapshots | None = None
        self._cache: OrderedDict[str, Aggregate | None] = OrderedDict()
        self._last_time = log.recorder.last_time()
        # Stream -> the decisions on it that are not in the log yet, each with the version that it rests on.
        self._unwritten: dict[str, list[tuple[int, asyncio.Future[list[Record]]]]] = {}
        # Stream -> when the store last changed the time of what is cached, counted.
        self._moved: OrderedDict[str, int] = OrderedDict()
        self._moves = 0
        log.on_failure(self._drop)
        log.on_moved(self._move)
        log.listen(self._hear)

    # -- loading

    async def load(self, stream: str, companion: type[Aggregate] | None = None) -> Aggregate | None:
        """The newest state of a stream, decided but perhaps not yet durable; None when nothing ever happened.

        What is returned is the cache's own: copy before deciding on it.
        """
        if stream in self._cache:
            self._cache.move_to_end(stream)
            return self._cache[stream]
        found, _ = load(self.log.recorder, stream, companion, snapshots=self.snapshots)
        self._cache[stream] = found
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return found

    async def find(self, cls: type[R], uuid: str, before: str = "") -> R | None:
        """The resource outside of a decision, as load and Unit.find give it; None when there is none of this kind."""
        found = await self.load(uuid)
        if isinstance(found, cls) and found.exists:
            return found
        return await self.find(cls, before) if before and self.older else None

    def is_fresh(self, stream: str) -> None:
        """Nothing ever happened in a stream that was just named at random: the log need not be asked."""
        self._cache[stream] = None

    # -- deciding

    def now(self) -> int:
        """The time by the store's clock, which is the same for all nodes: by it they decide what is due."""
        return self.clock.now() + self.leases.ahead

    def present(self) -> int:
        """The time, and never earlier than what has been decided: a clock that is set back would have us wait."""
        return max(self.clock.now(), self._last_time + 1)

    def by_itself(self, origin: str, reason: str = "") -> Context:
        """For what this node decides without having been asked: a first cause."""
        actor = by_node(self.leases.name)
        return Context(actor=actor, origin=origin, reason=reason, correlation_id=self.ids.new())

    async def decide(
        self,
        context: Context,
        body: Callable[[Unit], Awaitable[T]],
        *,
        dry_run: bool = False,
        answer: Callable[[Unit, T], RequestRecord | None] | None = None,
        fenced: str = "",
    ) -> Decision:
        """Run the body on fresh aggregates until what it decides can be written, and wait until it is durable.

        dry_run writes nothing and gives the records that would have been written. answer makes the record by
        which a retry gets the same answer. fenced: the key of the work that this belongs to; it is written only while
        that work is this node's. Raises Refused, also ABORTED after too many conflicts.
        """
        for _ in range(ATTEMPTS):
            unit = Unit(self, context, self.present())
            moves = self._moves
            fence = self.leases.fence(fenced) if fenced else None
            value = await body(unit)
            await settle(unit)
            if dry_run:
                return Decision(value, self._records(unit, unit.now), self.log.head, followed=unit.followed)
            if not self._still_current(unit, moves):
                continue
            request = answer(unit, value) if answer is not None else None
            append = self._prepare(unit, request)
            append.fence = fence
            if not append.records and request is None:
                return Decision(value, [], self.log.head)
            self._keep(unit)
            try:
                records = await _outcome(self._submit(append))
            except Conflict:
                continue
            return Decision(value, records, records[-1].position if records else self.log.head, unit.now)
        raise Refused(
            Code.ABORTED, Reason.VERSION_MOVED, "others keep changing the same resources; try again in a moment"
        )

    def _submit(self, append: Append) -> asyncio.Future[list[Record]]:
        written = self.log.submit(append)
        for stream, base in append.bases.items():
            self._unwritten.setdefault(stream, []).append((base, written))

        def done(_: object) -> None:
            if not written.cancelled():
                written.exception()  # taken, also where whoever decided is gone: nobody else is to be told
            for stream in append.bases:
                left = [waiting for waiting in self._unwritten[stream] if waiting[1] is not written]
                if left:
                    self._unwritten[stream] = left
                else:
                    del self._unwritten[stream]

        written.add_done_callback(done)
        return written

    async def written(self, streams: Iterable[str]) -> bool:
        """Waits for what was decided on these streams and is on its way; whether all of it is in the log then."""
        waiting = {append for stream in streams for _, append in self._unwritten.get(stream, ())}
        if not waiting:
            return True
        await asyncio.wait(waiting)
        return not any(append.cancelled() or append.exception() for append in waiting)

    def _still_current(self, unit: Unit, moves: int) -> bool:
        """Nothing that the unit read has moved on since it was read; what left the cache meanwhile is read again."""
        for stream, (_, version) in unit.seen.items():
            if stream not in self._cache or self._moved.get(stream, 0) > moves:
                return False
            head = self._cache[stream]
            if (head.version if head is not None else 0) != version:
                return False
        return True

    def _prepare(self, unit: Unit, request: RequestRecord | None) -> Append:
        now = max(unit.now, self._last_time + 1)
        bases, guards = {}, {}
        for stream, (aggregate, version) in unit.seen.items():
            if aggregate is not None and aggregate.pending:
                if now != unit.now:  # others were appended meanwhile: time grows with position
                    self._refold(stream, aggregate, version, now)
                bases[stream] = version
            else:
                guards[stream] = version
        if bases:
            self._last_time = now
        return Append(self._records(unit, now), bases, guards, request)

    def _refold(self, stream: str, aggregate: Aggregate, version: int, now: int) -> None:
        head = self._cache[stream]
        if head is None or aggregate.pending[0].begins or type(head) is not type(aggregate):
            base = type(aggregate).blank(aggregate.uuid, version)
        else:
            base = head.copy()
        aggregate.refold(base, now)

    def _records(self, unit: Unit, now: int) -> list[Record]:
        records = []
        c = unit.context
        for stream, aggregate in unit.changed():
            owner, zone, kind = unit.envelope(aggregate)
            first = aggregate.version - len(aggregate.pending)
            for n, event in enumerate(aggregate.pending, 1):
                values = {
                    "originator_id": stream,
                    "originator_version": first + n,
                    "topic": event.topic,
                    "state": events.encode(event),
                    "position": 0,
                    "time": now,
                    "schema": event.schema,
                    "kind": kind,
                    "resource_uuid": aggregate.uuid,
                    "owner_uuid": owner,
                    "zone_uuid": zone,
                    "actor": c.actor,
                    "origin": c.origin,
                    "request_id": c.request_id,
                    "causation_id": c.causation_id,
                    "correlation_id": c.correlation_id,
                    "reason": unit.reasons.get(stream, c.reason),
                    "job_uuid": c.job_uuid or unit.job_uuid,
                }
                records.append(Record.of(values))
        return records

    def _keep(self, unit: Unit) -> None:
        for stream, aggregate in unit.changed():
            kept = aggregate.copy()
            self._cache[stream] = kept
            self._cache.move_to_end(stream)
        while len(self._cache) > CACHED:
            self._cache.popitem(last=False)

    def _drop(self, append: Append, error: Exception) -> None:
        """What was decided and not written is forgotten, with all that rests on it; so is what was read too old."""
        for stream, base in append.bases.items():
            head = self._cache.get(stream)
            if head is not None and head.version > base:
                del self._cache[stream]
        if isinstance(error, Conflict):
            for stream in (*append.bases, *append.guards):
                self._cache.pop(stream, None)

    def _move(self, append: Append, records: list[Record]) -> None:
        """Other nodes write too, and the store moved the time of what this one wrote: the cache says so as well.

        What was decided since on top of it holds the same moments under their names; so each is looked for by value.
        """
        given, stamped = append.records[0].time, records[0].time
        self._moves += 1
        for stream in append.bases:
            head = self._cache.get(stream)
            if head is not None:
                moved = head.copy()
                values = {name: stamped for name, value in vars(head).items() if value == given}
                moved.__dict__.update(values)
                self._cache[stream] = moved
            self._moved[stream] = self._moves
            self._moved.move_to_end(stream)
        while len(self._moved) > CACHED:
            self._moved.popitem(last=False)

    def _hear(self, records: list[Record]) -> None:
        """What is in the log now; of other nodes' records, this one knows neither the time nor what they changed."""
        self._last_time = max(self._last_time, records[-1].time)
        for record in records:
            stream = str(record.originator_id)
            if stream in self._cache:
                head = self._cache[stream]
                if self._contradicts(stream, record):
                    # It holds what will never be written, and who is told of this event looks at it now.
                    del self._cache[stream]
                elif head is None or head.version < record.originator_version:
                    del self._cache[stream]
                    if head is not None and head.version == record.originator_version - 1:
                        # Should it be nothing that this version knows, the others are heard all the same.
                        tell((self._follow,), stream, head, record)

    def _contradicts(self, stream: str, record: Record) -> bool:
        """Whether another node was quicker with a version that this one has decided and not written yet."""
        unwritten = self._unwritten.get(stream, ())
        return any(base < record.originator_version and not append.done() for base, append in unwritten)

    def _follow(self, stream: str, head: Aggregate, record: Record) -> None:
        """Others change what this node has in memory: it need not be read again."""
        event = events.decode(record.topic, record.schema, record.state)
        if not event.begins:
            moved = head.copy()
            moved.fold(event, record.time)
            self._cache[stream] = moved


async def _outcome(written: asyncio.Future[list[Record]]) -> list[Record]:
    """What came of an append. Who is cancelled meanwhile goes only when that is known: it happens all the same."""
    # As asyncio.shield, at a third of its cost: it is the future of many, and only this wait may be cancelled.
    waiting = written.get_loop().create_future()

    def wake(_: object) -> None:
        if not waiting.done():
            waiting.set_result(None)

    written.add_done_callback(wake)
    try:
        await waiting
    except asyncio.CancelledError:
        if not written.done():
            await asyncio.wait([written])
        raise
    return written.result()
