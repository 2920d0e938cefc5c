"""The node's side of a front: calls come as frames, and are answered as if gRPC had brought them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc

from zcloud.api.answers import Answers, Method
from zcloud.api.front import frames
from zcloud.api.front.frames import Link, Pairs, ending, opened
from zcloud.api.rpcs import rpcs
from zcloud.api.status import internal

log = logging.getLogger(__name__)


class Aborted(Exception):
    """The call has ended otherwise than well."""


class FrontCall:
    """One call, as an answer sees it."""

    __slots__ = ("_metadata", "_peer", "details", "status", "trailers")

    def __init__(self, peer: str, metadata: list[tuple[str, str]]) -> None:
        self._peer = peer
        self._metadata = metadata
        self.status, self.details = 0, ""
        self.trailers: Pairs = ()

    def peer(self) -> str:
        """Scheme and address of who calls."""
        return self._peer

    def invocation_metadata(self) -> list[tuple[str, str]]:
        """The texts among the metadata."""
        return self._metadata

    def set_trailing_metadata(self, trailing: Pairs) -> None:
        """What goes with the end of the answer."""
        self.trailers = trailing

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Pairs = ()) -> None:
        """End the call."""
        self.status, self.details = code.value[0], details
        self.trailers = trailing or self.trailers
        raise Aborted

    def end(self, data: bytes = b"") -> bytes:
        """The body of the frame that ends it."""
        return ending(self.status, self.details, self.trailers, b"" if self.status else data)


class Inbox:
    """The messages of a call that brings several."""

    def __init__(self, taken: Callable[[], None]) -> None:
        self._came: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._taken = taken

    def put(self, message: bytes | None) -> None:
        """None: there are no more."""
        self._came.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._came.get()) is not None:
            yield message
            self._taken()


class Calls(Link):
    """All calls of one front."""

    def __init__(self, answers: Answers, heard: Callable[[int, bytes], None], lost: Callable[[], None]) -> None:
        super().__init__()
        self._methods = [answers.methods.get(rpc.path) for rpc in rpcs().values()]
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._inboxes: dict[int, Inbox] = {}
        self._credits: dict[int, asyncio.Semaphore] = {}
        self._loop = asyncio.get_running_loop()
        self._heard, self._lost = heard, lost

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """Nobody is there any more to be answered."""
        for task in list(self._tasks.values()):
            task.cancel()
        self._lost()

    def taken(self, number: int, kind: int, body: bytes) -> None:
        if kind == frames.OPEN:
            self._begin(number, body)
        elif kind == frames.GONE:
            if (task := self._tasks.get(number)) is not None:
                task.cancel()
                # One that has not begun yet never gets to its own end.
                task.add_done_callback(lambda _: self._forget(number))
        elif kind in (frames.MESSAGE, frames.HALF):
            if (inbox := self._inboxes.get(number)) is not None:
                inbox.put(body if kind == frames.MESSAGE else None)
        elif kind == frames.TAKEN:
            if (credit := self._credits.get(number)) is not None:
                credit.release()
        else:
            self._heard(kind, body)

    def _begin(self, number: int, body: bytes) -> None:
        index, peer, metadata, data = opened(body)
        method, call = self._methods[index], FrontCall(peer, metadata)
        assert method is not None
        if method.rpc.takes_stream:
            inbox = self._inboxes[number] = Inbox(lambda: self.send(number, frames.TAKEN))
            coroutine = self._answer(number, call, method.behaviour, aiter(inbox))
        elif method.rpc.streams:
            coroutine = self._answer(number, call, partial(self._stream, number, method), data)
        else:
            coroutine = self._answer(number, call, method.behaviour, data)
        self._tasks[number] = self._loop.create_task(coroutine)

    async def _answer(self, number: int, call: FrontCall, behaviour: Any, told: Any) -> None:
        data = b""
        try:
            data = await behaviour(told, call)
        except Aborted:
            pass
        except asyncio.CancelledError:
            call.status = grpc.StatusCode.CANCELLED.value[0]
            raise
        except Exception:
            log.exception("a call from a front failed")
            code, call.details = internal()
            call.status = code.value[0]
        finally:
            self._forget(number)
            self.send(number, frames.END, call.end(data))

    def _forget(self, number: int) -> None:
        self._tasks.pop(number, None)
        self._inboxes.pop(number, None)

    async def _stream(self, number: int, method: Method, data: bytes, call: FrontCall) -> bytes:
        credit = self._credits[number] = asyncio.Semaphore(frames.CREDIT)
        answers = method.behaviour(data, call)
        try:
            async for message in answers:
                await credit.acquire()
                self.send(number, frames.MESSAGE, message)
        finally:
            del self._credits[number]
            await answers.aclose()
        return b""
