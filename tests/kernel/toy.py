"""A small cloud of toys for tests of the kernel: a thing in a thing, facts beside it, and a kernel on a file."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.cloud import Cloud, Decision
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.ids import SeededIds
from zcloud.kernel.log import Log
from zcloud.kernel.record import RequestRecord
from zcloud.kernel.resource import Creation, Switched
from zcloud.kernel.store.sqlite import SqliteRecorder
from zcloud.kernel.unit import Unit

OWNER = Actor("a" * 32, "owner", "", "test")


class Thing(Switched, kind="toy_thing"):
    """Holds items; may lie in another thing."""

    inside: str = ""
    items: tuple[str, ...] = ()

    class Created(Creation):
        inside: str = ""

    class Filled(Event):
        item: str

        def apply(self, aggregate: Any) -> None:
            aggregate.items = (*aggregate.items, self.item)

    class Emptied(Event):
        item: str

        def apply(self, aggregate: Any) -> None:
            aggregate.items = tuple(i for i in aggregate.items if i != self.item)

    def create(self, *, name: str, inside: str = "") -> None:
        self.trigger(self.Created(name=name, account_uuid=self.account_uuid, inside=inside))

    def fill(self, item: str) -> None:
        if item in self.items:
            raise precondition(Reason.WRONG_STATE, f"{item} is in it already")
        self.trigger(self.Filled(item=item))

    def empty(self, item: str) -> None:
        if item in self.items:
            self.trigger(self.Emptied(item=item))


class Weight(Companion, of="toy_thing", role="weight"):
    """Facts beside a thing."""

    grams: int = 0

    class Weighed(Event):
        grams: int

    def weigh(self, grams: int) -> None:
        self.trigger(self.Weighed(grams=grams))


class Kernel:
    """A write side, and short words for what tests do with it."""

    def __init__(self, path: Path, ids: Any = None) -> None:
        self.recorder = SqliteRecorder(path)
        self.log = Log(self.recorder)
        self.cloud = Cloud(self.log, ids=ids or SeededIds(hash(str(path)) & 0xFFFF))
        self.batches: list[int] = []

    async def create(self, name: str = "box", uuid: str = "", inside: str = "") -> str:
        async def body(unit: Unit) -> str:
            if inside:
                await unit.usable(Thing, inside)
            made = await unit.new(Thing, uuid)
            made.create(name=name, inside=inside)
            return made.uuid

        return str((await self.cloud.decide(Context(OWNER, "create"), body)).value)

    async def fill(self, uuid: str, item: str, **options: Any) -> Decision:
        async def body(unit: Unit) -> Thing:
            found = await unit.get(Thing, uuid)
            found.fill(item)
            return found

        return await self.cloud.decide(Context(OWNER, "fill"), body, **options)

    async def remove(self, uuid: str) -> Decision:
        async def body(unit: Unit) -> None:
            (await unit.get(Thing, uuid)).remove()

        return await self.cloud.decide(Context(OWNER, "remove"), body)

    async def items(self, uuid: str) -> tuple[str, ...]:
        """As a node that has just started would see them."""
        found = await Cloud(self.log).load(uuid)
        return found.items if isinstance(found, Thing) else ()

    def topics(self) -> list[str]:
        return [record.topic for record in self.recorder.read_all(0, 10_000)]


def request(request_id: str, body: bytes = b"body", answer: bytes = b"answer") -> RequestRecord:
    """What remembers the first answer to a request id."""
    return RequestRecord(OWNER.account_uuid, request_id, "Rpc", body, answer, 1)


@contextlib.asynccontextmanager
async def running(directory: Path, **options: Any) -> AsyncIterator[Kernel]:
    """A kernel on the directory's log, closed afterwards."""
    made = Kernel(directory / "log.db", **options)
    made.log.start()
    try:
        yield made
    finally:
        made.log.close()
        made.recorder.close()
