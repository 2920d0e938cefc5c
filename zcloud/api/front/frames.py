"""What a front and its node say to each other over a socket pair: frames of many calls at a time.

A frame is a head (length of the rest, number of the call, kind) and its body. Streams have credit: so many messages may
be sent before the other end has said that it took some.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from typing import cast

Pairs = tuple[tuple[str, str | bytes], ...]

HEAD = struct.Struct("<IIB")
_OPEN = struct.Struct("<HI")
_END = struct.Struct("<BII")
# Messages of one stream that may be under way in one direction.
CREDIT = 16

# From the front: a call begins, whole unless its RPC takes a stream; its stream of messages ends; it went away.
OPEN, HALF, GONE = 1, 2, 3
# Both ways: a message of a stream, and that one was taken.
MESSAGE, TAKEN = 4, 5
# From the node: the end of a call; nothing new is to be begun; the certificate to serve; the address to listen at.
END, DRAIN, CERTIFICATE, LISTEN = 6, 7, 10, 11
# From the front: it listens at this port, or can't for this reason.
LISTENS, CANNOT = 8, 9


class Link(asyncio.Protocol):
    """One end. Whoever derives from it takes frames, and hears when the other end is gone."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._rest = b""
        self._unsent: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pair is up."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        if self._rest:
            data = self._rest + data
        at, whole, size = 0, len(data), HEAD.size
        while whole - at >= size:
            length, number, kind = HEAD.unpack_from(data, at)
            begin = at + size
            at = begin + length
            if at > whole:
                at = begin - size
                break
            self.taken(number, kind, data[begin : begin + length])
        self._rest = data[at:]

    def taken(self, number: int, kind: int, body: bytes) -> None:
        """A frame has come."""
        raise NotImplementedError

    def send(self, number: int, kind: int, body: bytes = b"") -> None:
        """Send a frame; what is sent in one turn of the loop goes together. Nothing, when the other end is gone."""
        if not self._unsent:
            self.gather()
        self._unsent += (HEAD.pack(len(body), number, kind), body)

    def gather(self) -> None:
        """The first frame waits to be sent: say when flush() is to be called."""
        asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits: a system call of its own for each frame would wake the other end for each.

        An other end that is gone is heard of in connection_lost(); writing to what is closed is another error in each
        event loop.
        """
        unsent, self._unsent = self._unsent, []
        if unsent and not self.transport.is_closing():
            self.transport.write(b"".join(unsent))


def opening(method: int, peer: str, metadata: Iterable[tuple[str, str | bytes]], data: bytes) -> bytes:
    """The body of OPEN. Metadata that is no text, or has what no header may have, has no meaning for the API."""
    words = [peer]
    for key, value in metadata:
        if isinstance(value, str) and "\0" not in key + value:
            words += (key, value)
    told = "\0".join(words).encode()
    return _OPEN.pack(method, len(told)) + told + data


def opened(body: bytes) -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Method, peer, metadata and message."""
    method, told = _OPEN.unpack_from(body)
    begin = _OPEN.size
    peer, *words = body[begin : begin + told].decode().split("\0")
    return method, peer, list(zip(words[::2], words[1::2], strict=True)), body[begin + told :]


def ending(code: int, details: str, trailers: Pairs, data: bytes = b"") -> bytes:
    """The body of END: a gRPC status code, its text, metadata and the answer."""
    parts = []
    for key, value in trailers:
        text = value if isinstance(value, bytes) else value.encode()
        parts += [struct.pack("<BII", isinstance(value, bytes), len(key), len(text)), key.encode(), text]
    packed, told = b"".join(parts), details.encode()
    return _END.pack(code, len(told), len(packed)) + told + packed + data


def ended(body: bytes) -> tuple[int, str, Pairs, bytes]:
    """Code, text, trailers and answer."""
    code, told, packed = _END.unpack_from(body)
    at = _END.size + told
    details, upto = body[_END.size : at].decode(), at + packed
    trailers: list[tuple[str, str | bytes]] = []
    while at < upto:
        binary, key, value = struct.unpack_from("<BII", body, at)
        name, text = body[at + 9 : at + 9 + key].decode(), body[at + 9 + key : at + 9 + key + value]
        trailers.append((name, text if binary else text.decode()))
        at += 9 + key + value
    return code, details, tuple(trailers), body[upto:]
