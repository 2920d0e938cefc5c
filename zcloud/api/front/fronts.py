"""The fronts of a node: as many processes as it was told, at one address; one that dies is started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from functools import partial
from typing import Any

import msgspec

from agents.runtime.children import END_SECONDS, ended, kill
from zcloud.api.addresses import hold
from zcloud.api.answers import Answers
from zcloud.api.front import frames
from zcloud.api.front.calls import Calls
from zcloud.api.front.credentials import Certificate
from zcloud.api.rpcs import of_the_api
from zcloud.api.server import NoDoor
from zcloud.api.tls import TlsDoor
from zcloud.kernel.keep import BrokeOff, keeper

log = logging.getLogger(__name__)
AGAIN_SECONDS = 1.0
# How often it is looked whether there is a new certificate.
CERTIFICATE_SECONDS = 5.0
# How often, and with what pauses, an address that is taken is asked for again.
AFTER_OTHERS, AFTER_OTHERS_SECONDS = 20, 0.1


class Front:
    """One process, and the calls that it brings."""

    def __init__(self, answers: Answers) -> None:
        self.serves: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.calls = Calls(answers, self._heard, self.gone.set)
        self.process: asyncio.subprocess.Process | None = None

    def _heard(self, kind: int, body: bytes) -> None:
        if kind == frames.LISTENS:
            self.serves.set_result(int(body))
        elif kind == frames.CANNOT:
            self.serves.set_exception(NoDoor(body.decode()))

    async def begin(self) -> None:
        """Start the process; it serves when it is told where."""
        ours, its = socket.socketpair()
        with its:
            await asyncio.get_running_loop().create_connection(lambda: self.calls, sock=ours)
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "zcloud.api.front.process",
                str(its.fileno()),
                pass_fds=(its.fileno(),),
                start_new_session=True,  # Ctrl-C is the node's to answer
            )

    async def listen(self, address: str, certificate: bytes | None) -> int:
        """Returns the port when it serves; raises NoDoor."""
        assert self.process is not None
        if certificate is not None:
            self.calls.send(0, frames.CERTIFICATE, certificate)
        self.calls.send(0, frames.LISTEN, address.encode())
        over = asyncio.ensure_future(self.gone.wait())
        await asyncio.wait({self.serves, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not self.serves.done():
            raise NoDoor(f"the process that is to listen at {address} ended with {await ended(self.process)}")
        if self.serves.exception() is not None:
            self.calls.transport.close()
        return self.serves.result()

    async def end(self, grace: float) -> None:
        """Let it answer what is under way, and wait for its end."""
        if self.process is None:
            return
        if not self.gone.is_set():
            self.calls.send(0, frames.DRAIN)
        await ended(self.process, grace + END_SECONDS)

    def give_up(self) -> None:
        """It could not be started, and another one takes its place."""
        if self.process is not None:
            kill(self.process)
        self.gone.set()


class Fronts:
    """The API of a node at one address, which other processes listen at."""

    def __init__(self, node: Any, count: int) -> None:
        self.answers = Answers(node, of_the_api)
        self._count = count
        self._fronts: list[Front] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._tls: TlsDoor | None = None
        self._certificate: bytes | None = None
        self._holder: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()

    @property
    def under_way(self) -> int:
        """Calls that are being answered, without those that wait for something to happen."""
        return self.answers.lane.total

    async def begin(self) -> None:
        """Start the processes, which takes them a moment."""
        self._fronts = [Front(self.answers) for _ in range(self._count)]
        await asyncio.gather(*(front.begin() for front in self._fronts))

    async def start(self, address: str, tls: TlsDoor | None = None) -> int:
        """All of them listen; gives the port. Raises NoDoor, BadCertificate."""
        address, self._holder = await _held(address)
        self._tls = tls
        if tls is not None:
            self._certificate = _packed(tls)
        port, *_ = await asyncio.gather(*(front.listen(address, self._certificate) for front in self._fronts))
        self._keepers = [
            keeper(partial(self._serve, n, address), f"front-{n}", AGAIN_SECONDS) for n in range(self._count)
        ]
        if tls is not None:
            self._keepers.append(keeper(partial(self._renew, tls), "front-certificates"))
        return port

    async def _serve(self, number: int, address: str) -> None:
        """One of them, until it is gone."""
        front = self._fronts[number]
        if front.gone.is_set():
            front = self._fronts[number] = Front(self.answers)
            try:
                await front.begin()
                await front.listen(address, self._certificate)
            except Exception as error:
                front.give_up()
                if isinstance(error, OSError):  # no door; no process or file is to be had just now
                    raise BrokeOff(str(error), served=False) from error
                raise
        await front.gone.wait()
        # One that hangs would go on taking connections that nobody serves.
        status = await ended(front.process) if front.process is not None else "no start"
        raise BrokeOff(f"the process that listens at {address} ended with {status}")

    async def _renew(self, tls: TlsDoor) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            if tls.changed():
                self._certificate = _packed(tls)
                for front in self._fronts:
                    if not front.gone.is_set():
                        front.calls.send(0, frames.CERTIFICATE, self._certificate)

    async def stop(self, grace: float = 2.0) -> None:
        """Answer what is being answered, then close."""
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(front.end(grace) for front in self._fronts))
        with self._holder:
            pass


async def _held(address: str) -> tuple[str, socket.socket]:
    """Fronts of a node that was killed see its end a moment later."""
    for _ in range(AFTER_OTHERS):
        with contextlib.suppress(NoDoor):
            return hold(address)
        await asyncio.sleep(AFTER_OTHERS_SECONDS)
    return hold(address)


def _packed(tls: TlsDoor) -> bytes:
    key, chain, roots, clients = tls.served()
    return msgspec.msgpack.encode(Certificate(key, chain, roots, clients))
