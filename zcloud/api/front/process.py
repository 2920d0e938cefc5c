"""A front: python -m zcloud.api.front.process FD. Speaks gRPC, and hands calls on to its node as they are.

FD is the number of the open socket to the node, which says where to listen. It ends when the node does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from zcloud.api.front import frames
from zcloud.api.front.credentials import Pushed
from zcloud.api.front.frames import Link, ended, opening
from zcloud.api.rpcs import Rpc, of_the_api, rpcs
from zcloud.api.server import GrpcDoor, NoDoor, handler, service_names
from zcloud.kernel import memory

log = logging.getLogger(__name__)
CODES = {code.value[0]: code for code in grpc.StatusCode}
NODE_GONE = "the node has ended; try again in a moment"
GRACE_SECONDS = 2.0
# To tell those who wait that the node has ended; the next one wants the address.
GONE_SECONDS = 0.1
# So many under way are a crowd.
CROWD, CROWD_SECONDS = 16, 0.001


class Stream:
    """What has come for a call that has more than one answer, and how much more may be sent."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.may_send = asyncio.Semaphore(frames.CREDIT)

    def set_result(self, end: bytes) -> None:
        """As a future has it."""
        self.came.put_nowait((frames.END, end))

    def done(self) -> bool:
        """As a future has it."""
        return False


class Front(Link):
    """The node's door in this process."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, asyncio.Future[bytes] | Stream] = {}
        self._last = 0
        self._loop = asyncio.get_running_loop()
        self.certificates = Pushed()
        self.address: asyncio.Future[str] = self._loop.create_future()
        self.draining = asyncio.Event()
        self.gone = asyncio.Event()

    def taken(self, number: int, kind: int, body: bytes) -> None:
        if kind == frames.DRAIN:
            self.draining.set()
        elif kind == frames.LISTEN:
            self.address.set_result(body.decode())
        elif kind == frames.CERTIFICATE:
            self.certificates.take(body)
        elif (call := self._calls.get(number)) is None:
            return  # it went away while its answer was on the way
        elif kind == frames.END:
            if not call.done():
                call.set_result(body)
        elif isinstance(call, Stream):
            if kind == frames.TAKEN:
                call.may_send.release()
            else:
                call.came.put_nowait((kind, body))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """The node is gone, and nobody knows what has become of what it was told."""
        end = frames.ending(grpc.StatusCode.UNAVAILABLE.value[0], NODE_GONE, ())
        for call in self._calls.values():
            if not call.done():
                call.set_result(end)
        self.gone.set()

    def gather(self) -> None:
        """gRPC brings calls one by one; while many wait, what they ask is handed on together."""
        if len(self._calls) < CROWD:
            super().gather()
        else:
            self._loop.call_later(CROWD_SECONDS, self.flush)

    def behaviour(self, rpc: Rpc, method: int) -> Any:
        """What gRPC calls for this RPC, of which the node knows the number."""
        if rpc.takes_stream:
            return self._taking(method)
        return self._streaming(method) if rpc.streams else self._unary(method)

    def _open(self, method: int, data: bytes, context: Any, call: asyncio.Future[bytes] | Stream) -> int:
        if self.gone.is_set():
            call.set_result(frames.ending(grpc.StatusCode.UNAVAILABLE.value[0], NODE_GONE, ()))
        self._last = number = self._last + 1 & 0xFFFFFFFF
        self._calls[number] = call
        self.send(number, frames.OPEN, opening(method, context.peer(), context.invocation_metadata(), data))
        return number

    def _unary(self, method: int) -> Any:
        async def answer(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
            call: asyncio.Future[bytes] = self._loop.create_future()
            number = self._open(method, data, context, call)
            try:
                end = await call
            except asyncio.CancelledError:
                self.send(number, frames.GONE)
                raise
            finally:
                del self._calls[number]
            return await _closed(end, context)

        return answer

    def _streaming(self, method: int) -> Any:
        async def answer(data: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            call = Stream()
            number, over = self._open(method, data, context, call), False
            try:
                while not over:
                    kind, body = await call.came.get()
                    over = kind == frames.END
                    if not over:
                        yield body
                        self.send(number, frames.TAKEN)
            finally:
                del self._calls[number]
                if not over:
                    self.send(number, frames.GONE)
            await _closed(body, context)

        return answer

    def _taking(self, method: int) -> Any:
        async def answer(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
            call, over = Stream(), False
            number = self._open(method, b"", context, call)
            sender = self._loop.create_task(self._hand_on(number, call, requests))
            try:
                _, end = await call.came.get()
                over = True
            finally:
                del self._calls[number]
                sender.cancel()
                if not over:
                    self.send(number, frames.GONE)
            return await _closed(end, context)

        return answer

    async def _hand_on(self, number: int, call: Stream, requests: AsyncIterator[bytes]) -> None:
        async for message in requests:
            await call.may_send.acquire()
            self.send(number, frames.MESSAGE, message)
        self.send(number, frames.HALF)


async def _closed(end: bytes, context: grpc.aio.ServicerContext) -> bytes:
    """Give the call the end that the node gave it."""
    code, details, trailers, data = ended(end)
    if code:
        await context.abort(CODES[code], details, trailers)
    context.set_trailing_metadata(trailers)
    return data


async def serve(descriptor: int) -> int:
    """Until the node says so or is gone."""
    loop = asyncio.get_running_loop()
    _, front = await loop.create_connection(Front, sock=socket.socket(fileno=descriptor))
    methods = {
        rpc.path: handler(rpc, front.behaviour(rpc, number))
        for number, rpc in enumerate(rpcs().values())
        if of_the_api(rpc)
    }
    door = GrpcDoor(methods, service_names(of_the_api), share=True)
    memory.settle()
    ends = [asyncio.ensure_future(event.wait()) for event in (front.draining, front.gone)]
    await asyncio.wait([front.address, *ends], return_when=asyncio.FIRST_COMPLETED)
    if not front.address.done():
        return 0
    try:
        port = await door.start(front.address.result(), front.certificates.credentials())
    except NoDoor as error:
        front.send(0, frames.CANNOT, str(error).encode())
        await front.gone.wait()
        return 1
    front.send(0, frames.LISTENS, str(port).encode())
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    await door.stop(GONE_SECONDS if front.gone.is_set() else GRACE_SECONDS)
    front.transport.close()
    return 0


def main(argv: list[str]) -> int:
    """Serve."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        import uvloop as loops
    except ImportError:
        loops = asyncio  # type: ignore[misc]
    return loops.run(serve(int(argv[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
