"""The log in memory, as SQLite keeps it: shared by a node's lives, forked for each run; and its fold."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventsourcing.persistence import IntegrityError

from zcloud.kernel.aggregate import Aggregate, companions_of, kinds
from zcloud.kernel.fold import fold
from zcloud.kernel.log import Log, unavailable
from zcloud.kernel.record import Append, Record, RequestRecord
from zcloud.kernel.resource import Resource
from zcloud.kernel.store import RequestTaken


class Lake:
    """Records in order, what was answered to request ids, and the fold of it all."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.streams: dict[str, list[Record]] = {}
        self.requests: dict[tuple[str, str], RequestRecord] = {}
        self.fold = Fold()
        self.listeners: list[Callable[[list[Record]], None]] = []

    def fork(self) -> Lake:
        """The same past, another future."""
        made = Lake()
        made.records = list(self.records)
        made.streams = {stream: list(records) for stream, records in self.streams.items()}
        made.requests = dict(self.requests)
        made.fold = self.fold.fork()
        return made

    def append(self, append: Append) -> list[Record] | Exception:
        """One decision, wholly or not at all."""
        request = append.request
        if request is not None and (request.account_uuid, request.request_id) in self.requests:
            return RequestTaken(request.request_id)
        for stream, expected in (*append.bases.items(), *append.guards.items()):
            if len(self.streams.get(stream, ())) != expected:
                return IntegrityError(f"stream {stream} is not at version {expected}")
        head = len(self.records)
        time = max(append.records[0].time, self.records[-1].time + 1 if self.records else 0) if append.records else 0
        written = [dataclasses.replace(r, position=head + n, time=time) for n, r in enumerate(append.records, 1)]
        for record in written:
            self.records.append(record)
            self.streams.setdefault(str(record.originator_id), []).append(record)
            self.fold.take(record)
        if request is not None:
            key = (request.account_uuid, request.request_id)
            self.requests[key] = dataclasses.replace(request, position=len(self.records))
        for listener in self.listeners:
            listener(written)
        return written


class Handle:
    """The store as one life of a node has it. gate is asked "before" and "after" each commit whether that life ends."""

    shared = False

    def __init__(self, lake: Lake, gate: Callable[[str], bool]) -> None:
        self.lake = lake
        self.gate = gate
        self.dead = False

    def append_batch(self, appends: Sequence[Append]) -> list[list[Record] | Exception]:
        """Each decision is a boundary of its own."""
        found: list[list[Record] | Exception] = []
        for append in appends:
            if self.dead or self.gate("before"):
                self.dead = True
                return [unavailable("dead") for _ in appends]
            found.append(self.lake.append(append))
            if self.gate("after"):
                self.dead = True
                return [unavailable("dead") for _ in appends]
        return found

    def read_stream(self, stream: str, after: int = 0, upto: int | None = None, by: int | None = None) -> list[Record]:
        found = self.lake.streams.get(stream, [])
        upto = len(found) if upto is None else upto
        wanted = found[max(0, after) : upto]
        return wanted if by is None else [r for r in wanted if r.position <= by]

    def read_all(self, after: int, limit: int) -> list[Record]:
        return self.lake.records[after : after + limit]

    def read_positions(self, positions: Sequence[int]) -> list[Record]:
        return [self.lake.records[p - 1] for p in sorted(positions)]

    def head(self) -> int:
        return len(self.lake.records)

    def last_time(self) -> int:
        return self.lake.records[-1].time if self.lake.records else 0

    def find_request(self, account_uuid: str, request_id: str) -> RequestRecord | None:
        return self.lake.requests.get((account_uuid, request_id))


class InlineLog(Log):
    """The kernel's log with its writer in the event loop: what was submitted in one turn is one batch."""

    latency: Callable[[], float] | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def submit(self, append: Append) -> asyncio.Future[list[Record]]:
        future = super().submit(append)
        loop = asyncio.get_running_loop()
        if self.latency is None:
            loop.call_soon(self._turn)
        else:
            loop.call_later(self.latency(), self._turn)
        return future

    def _turn(self) -> None:
        if not self._queue:
            return
        batch, self._queue = list(self._queue), deque()
        results = self._commit([(append, number) for append, _, number in batch])
        if not getattr(self.recorder, "dead", False):  # the dead answer nobody
            self._answer(batch, results)
            return
        for _, future, _ in batch:
            future.cancel()  # nor does anybody in them wait on


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


@dataclass
class View:
    """A resource and the facts beside it, by stream."""

    uuid: str
    main: Aggregate | None = None
    beside: dict[str, Aggregate] = field(default_factory=dict)


class Fold:
    """The port "views" as a plain fold: what the read models hold once they have caught up."""

    def __init__(self) -> None:
        self.views: dict[str, View] = {}
        self._of_kind: dict[str, dict[str, View]] = {}

    def fork(self, about: Collection[str] | None = None) -> Fold:
        """about: resources that something will happen to; the others are not copied. By default all may change."""
        made = Fold()
        for uuid, view in self.views.items():
            if about is not None and uuid not in about:
                made.views[uuid] = view
                made._sort(view)
                continue
            beside = {stream: found.copy() for stream, found in view.beside.items()}
            made.views[uuid] = copied = View(uuid, view.main.copy() if view.main else None, beside)
            made._sort(copied)
        return made

    def _sort(self, view: View) -> None:
        for kind in getattr(view.main, "kinds", ()):
            self._of_kind.setdefault(kind, {})[view.uuid] = view

    def take(self, record: Record) -> None:
        """Fold one record into the resource that it is about."""
        uuid, stream = record.resource_uuid, str(record.originator_id)
        view = self.views.setdefault(uuid, View(uuid))
        if stream == uuid:
            before, view.main = type(view.main), fold(view.main, record)
            if type(view.main) is not before:  # the first life, or another one of another kind
                self._sort(view)
        else:
            view.beside[stream] = fold(view.beside.get(stream), record, kinds()[record.topic.partition(".")[0]])  # type: ignore[arg-type]

    def find(self, uuid: str) -> Resource | None:
        """The resource, if it is there."""
        view = self.views.get(uuid)
        main = view.main if view is not None else None
        return main if isinstance(main, Resource) and main.exists else None

    def all(self, kind: str) -> list[Resource]:
        """Those of a kind, oldest first."""
        found = [m for uuid in self._of_kind.get(kind, ()) if (m := self.find(uuid)) is not None and kind in m.kinds]
        return sorted(found, key=lambda m: (m.create_date, m.uuid))

    def parts(self, main: Resource) -> list[Aggregate]:
        """A resource and what stands beside it, facts that were never recorded as blanks."""
        beside = self.views[main.uuid].beside
        made: list[Aggregate] = [main]
        for cls in companions_of(main.kinds):
            stream = cls.stream_of(main.uuid, main.life)
            made.append(beside[stream] if stream in beside else cls.blank(main.uuid))
        return made

    def companion(self, cls: type[Any], uuid: str) -> Any:
        """The facts of one role beside a resource."""
        main = self.find(uuid)
        assert main is not None
        return next(part for part in self.parts(main) if isinstance(part, cls))

    def value(self, main: Resource, name: str) -> Any:
        """As rendered: from the first part that has an attribute of this name."""
        for part in self.parts(main):
            if hasattr(part, name):
                return _plain(getattr(part, name))
        return ""

    # -- the port

    async def where(self, kind: str, **equal: Any) -> list[str]:
        return [m.uuid for m in self.all(kind) if all(self.value(m, name) == v for name, v in equal.items())]

    async def holding(self, kind: str, field: str, value: str, column: str = "value") -> list[str]:
        def holds(item: Any) -> bool:
            return bool((item if column == "value" else getattr(item, column)) == value)

        return [m.uuid for m in self.all(kind) if any(holds(item) for item in self.value(m, field))]

    async def referring(self, kind: str, field: str, uuid: str) -> list[str]:
        if field == "account_uuid":
            return await self.owned(kind, uuid)
        name, _, column = field.partition(".")
        if column:
            return await self.holding(kind, name, uuid, column)
        found = []
        for m in self.all(kind):
            value = self.value(m, field)
            if value == uuid or (isinstance(value, (tuple, set, frozenset)) and uuid in value):
                found.append(m.uuid)
        return found

    async def rows(self, kind: str, *columns: str) -> list[dict[str, Any]]:
        return [{name: self.value(m, name) for name in columns} for m in self.all(kind)]

    async def lists(self, kind: str, field: str) -> dict[str, list[str]]:
        return {m.uuid: list(self.value(m, field)) for m in self.all(kind) if self.value(m, field)}

    async def tally(self, kind: str, column: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for m in self.all(kind):
            value = self.value(m, column)
            if value:
                found[value] = found.get(value, 0) + 1
        return found

    async def owned(self, kind: str, account_uuid: str) -> list[str]:
        return [m.uuid for m in self.all(kind) if m.account_uuid == account_uuid]
