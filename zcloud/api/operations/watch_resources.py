"""WatchResources: what matches a filter as it changes, resumable at any bookmark, also on another node.

What matches at two positions is compared, so that a change of a related resource counts like one of its own, and a
reader that comes back gets the difference, however long it was away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from projections.past import walked_by
from projections.query.errors import QueryError
from projections.query.matching import Match, matching, matching_at
from projections.versions import shown_kinds
from zcloud.api import position, rules
from zcloud.api.call import Call
from zcloud.api.handlers import stream
from zcloud.api.operations.query import kind_named
from zcloud.api.reading import answer, refusal_of
from zcloud.api.then import moment_at
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.v1 import query_pb2 as pb

BOOKMARK_SECONDS = 10.0
# Changes that come together are told together.
GATHER_SECONDS = 0.1
# Answers that wait for a reader, and how long it may leave them waiting.
BUFFER = 500
PATIENCE_SECONDS = 30.0
BATCH = 2000


@dataclass
class Watcher:
    """One reader: what it was told, and up to where."""

    call: Call
    kind: str
    filter: str
    at: int = 0
    token: str = ""
    told: dict[str, int] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    queue: asyncio.Queue[pb.WatchResourcesResponse | None] = field(default_factory=lambda: asyncio.Queue(BUFFER))
    ended: Exception | None = None

    async def begin(self, from_position: str) -> list[Match]:
        """Find where the reader is; gives what must be told at once. Raises INVALID_ARGUMENT."""
        node, viewer = self.call.node, self.call.viewer
        try:
            self.kinds = shown_kinds(walked_by(node.models, self.kind, self.filter, viewer))
        except QueryError as error:
            raise refusal_of(error) from error
        if from_position not in ("", "now"):
            moment = await moment_at(self.call, from_position, "from_position")

            def then(connection: Connection) -> list[Match]:
                model = node.models[self.kind]
                return matching(connection, model, node.models, self.filter, viewer, moment.time)

            before = await answer(self.call, self.kind, self.filter, moment, then)
            self.told = {match.uuid: hash(match.document) for match in before}
            self.at, self.token = moment.position, position.encode(moment.position)
        self.at, found = await self._look()
        if from_position == "now":
            self.told = {match.uuid: hash(match.document) for match in found}
            self.token = position.encode(self.at)
        return found

    async def _look(self) -> tuple[int, list[Match]]:
        node = self.call.node

        def look(connection: Connection) -> tuple[int, list[Match]]:
            now = node.cloud.clock.now()
            return matching_at(connection, node.models[self.kind], node.models, self.filter, self.call.viewer, now)

        return await answer(self.call, self.kind, self.filter, None, look)

    async def run(self, found: list[Match]) -> None:
        """Tell the difference, again and again."""
        grown = self.call.node.growth.subscribe()
        try:
            await self._tell(found)
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BOOKMARK_SECONDS):
                        await grown.wait()
                    await asyncio.sleep(GATHER_SECONDS)
                grown.clear()
                moved = await self._moved()
                if moved:
                    self.at, found = await self._look()
                    await self._tell(found)
                elif moved is not None:
                    await self._bookmark()
        except Exception as error:
            self.ended = error
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)
        finally:
            self.call.node.growth.unsubscribe(grown)

    async def _moved(self) -> bool | None:
        """Whether anything happened that may matter; None when nothing happened at all."""
        node, before = self.call.node, self.at
        while self.at < node.cloud.log.head:
            records = await asyncio.to_thread(node.recorder.read_all, self.at, BATCH)
            if not records:
                break
            if any(record.kind in self.kinds for record in records):
                return True
            self.at = records[-1].position
        return False if self.at > before else None

    async def _tell(self, found: list[Match]) -> None:
        now = {match.uuid: hash(match.document) for match in found}
        for uuid in sorted(self.told.keys() - now.keys()):
            await self._put(pb.WatchResourcesResponse(change=pb.WatchResourcesResponse.CHANGE_REMOVED, uuid=uuid))
        message_type = self.call.node.models[self.kind].message_type
        for match in sorted(found, key=lambda match: match.position):
            if self.told.get(match.uuid) != now[match.uuid]:
                made = pb.WatchResourcesResponse(change=pb.WatchResourcesResponse.CHANGE_UPSERTED, uuid=match.uuid)
                made.resource.Pack(message_type.FromString(match.document))
                await self._put(made)
        self.told = now
        await self._bookmark()

    async def _bookmark(self) -> None:
        self.token = position.encode(self.at)
        await self._put(pb.WatchResourcesResponse())

    async def _put(self, message: pb.WatchResourcesResponse) -> None:
        message.position = self.token
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.queue.put(message)
        except TimeoutError:
            text = f'you read too slowly; begin again with from_position "{self.token}"'
            raise Refused(
                Code.RESOURCE_EXHAUSTED, Reason.SLOW_READER, text, subject="watch", from_position=self.token
            ) from None


@stream("WatchResources")
async def watch_resources(call: Call, request: Any) -> AsyncIterator[pb.WatchResourcesResponse]:
    """First the difference to where the reader is, then each difference as it comes; a bookmark behind each."""
    rules.check(request)
    kind = kind_named(request.kind, [model.kind for model in call.node.models], "kind")
    watcher = Watcher(call, kind, request.filter)
    found = await watcher.begin(request.from_position)
    task = asyncio.get_running_loop().create_task(watcher.run(found), name="watch")
    try:
        while (message := await watcher.queue.get()) is not None:
            yield message
        assert watcher.ended is not None
        raise watcher.ended
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
