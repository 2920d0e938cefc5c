"""The way by which a VM comes: a door for one other host, behind which is this one's hypervisor (VM-38).

The door shows a certificate that was made for this one VM, which the other host got through the management node. Who
comes must show an agent's certificate of this cloud that bears the name of the host that the VM leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from agents.runtime import identity as ids
from agents.runtime.self_signed import self_signed
from agents.runtime.task import TaskError

log = logging.getLogger(__name__)

# Where libvirt's own migrations go, which firewalls of hosts let through already.
PORTS = range(49152, 49216)
# How long a door waits for somebody to come, and to come back.
OPEN_SECONDS = 300.0
SHAKE_SECONDS = 20.0
BLOCK = 1 << 18
IDENTITY = "zcloud://host/{}"
Opener = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Visit = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Door:
    """What the other host has to know."""

    address: str
    port: int
    certificate: str
    server: asyncio.Server
    inside: int = 0
    links: set[asyncio.StreamWriter] = field(default_factory=set)

    def close(self) -> None:
        """Nobody comes in any more, and who is inside is shown out."""
        self.server.close()
        for link in self.links:
            link.close()


class Doors:
    """One for each VM that is to come here. directory: where the agent's identity is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, Door] = {}

    async def open(self, vm: str, address: str, source_host_uuid: str, socket: str) -> Door:
        """A new one; that of an earlier try is shut. socket: of the hypervisor."""
        known = await asyncio.to_thread(ids.load, self._directory)
        if known is None:
            raise TaskError("FAILED", f"this agent has no certificate in {self._directory}; reconnect the host")
        context, certificate = await asyncio.to_thread(_context, known.ca_certificate)
        door: Door

        async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._enter(vm, door, IDENTITY.format(source_host_uuid), socket, reader, writer)

        server, port = await _listen(enter, address, context)
        door = Door(address, port, certificate, server)
        if vm in self._open:
            self._open.pop(vm).close()
        self._open[vm] = door
        self._close_when_unused(vm, door)
        return door

    def close(self) -> None:
        """All of them."""
        while self._open:
            self._open.popitem()[1].close()

    def _close_when_unused(self, vm: str, door: Door) -> None:
        def look() -> None:
            if door.inside == 0 and self._open.get(vm) is door:
                del self._open[vm]
                door.close()

        asyncio.get_running_loop().call_later(OPEN_SECONDS, look)

    async def _enter(
        self,
        vm: str,
        door: Door,
        name: str,
        socket: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if name not in _names(writer):
            log.warning("VM %s: somebody else than %s was at the door", vm, name)
            writer.transport.abort()
            return
        door.inside += 1
        door.links.add(writer)
        try:
            await pipe(reader, writer, lambda: asyncio.open_unix_connection(socket, limit=BLOCK))
        finally:
            door.inside -= 1
            door.links.discard(writer)
            if not door.inside:
                self._close_when_unused(vm, door)


async def _listen(enter: Visit, address: str, context: ssl.SSLContext) -> tuple[asyncio.Server, int]:
    """On the address by which other hosts know this one; behind a translation of addresses, on all."""
    places = [address]
    for port in PORTS:
        try:
            server = await asyncio.start_server(
                enter, places[-1], port, ssl=context, ssl_handshake_timeout=SHAKE_SECONDS, limit=BLOCK
            )
            return server, port
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and len(places) == 1:
                places.append("0.0.0.0")  # noqa: S104 - who comes has to show a certificate
    raise TaskError("FAILED", f"all ports from {PORTS[0]} to {PORTS[-1]} are taken on {address}")


def _context(authority: bytes) -> tuple[ssl.SSLContext, str]:
    """A key and a certificate that nobody had before, and whom to let in: agents of this cloud."""
    private, certificate = self_signed("zcloud migration", days=7)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.decode())
    _load(context, private + certificate)
    return context, certificate.decode()


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """The interface takes nothing but a file."""
    with tempfile.NamedTemporaryFile(prefix="zcloud-") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)


def _names(writer: asyncio.StreamWriter) -> set[str]:
    """What the visitor's certificate says it is."""
    found = (writer.get_extra_info("peercert") or {}).get("subjectAltName", ())
    return {value for kind, value in found if kind == "URI"}


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: Opener) -> None:
    """Everything, both ways, until one end hangs up; then the other is hung up on."""
    try:
        other_reader, other_writer = await opened()
    except (OSError, TimeoutError) as error:
        log.warning("the other end is not there: %s", error)
        writer.close()
        return
    ways = [asyncio.create_task(way) for way in (_copy(reader, other_writer), _copy(other_reader, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, other_writer):
            end.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()


class Entry:
    """On the host that the VM leaves: a socket that leads through the door of the other one."""

    def __init__(self, directory: Path, address: str, port: int, certificate: str) -> None:
        self._directory, self._address, self._port, self._certificate = directory, address, port, certificate
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()

    @property
    def uri(self) -> str:
        """What a client of libvirt here reaches the other hypervisor by."""
        assert self._folder is not None
        return f"qemu+unix:///system?socket={self._folder.name}/s"

    async def __aenter__(self) -> Entry:
        context = await asyncio.to_thread(self._context)

        async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._links.add(writer)
            try:
                await pipe(reader, writer, lambda: self._reach(context))
            finally:
                self._links.discard(writer)

        # Only its owner gets into it; a socket's path has to be short.
        self._folder = tempfile.TemporaryDirectory(prefix="zcloud-", dir="/tmp")
        self._server = await asyncio.start_unix_server(enter, f"{self._folder.name}/s", limit=BLOCK)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._server is not None:
            self._server.close()
        for link in self._links:
            link.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def _reach(self, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(SHAKE_SECONDS):
            return await asyncio.open_connection(self._address, self._port, ssl=context, limit=BLOCK)

    def _context(self) -> ssl.SSLContext:
        """The door's certificate is believed, and no other; ours is that of the agent."""
        known = ids.load(self._directory)
        if known is None:
            raise TaskError("FAILED", f"this agent has no certificate in {self._directory}; reconnect the host")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_verify_locations(cadata=self._certificate)
        _load(context, known.private_key + known.certificate)
        return context
