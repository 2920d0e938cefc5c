"""Calls to the outside: one HTTP request to an address that was checked, within a time, without redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from agents.storage.image_sources import Network, check_address
from zcloud.domain.operations.settings import words_of

HEAD = 64 << 10
# Of what the receiver says, for people.
BODY = 300
PORTS = {"http": 80, "https": 443}


class Unanswered(Exception):
    """It was not taken. again: it may be, another time; after: not before so many seconds."""

    def __init__(self, text: str, *, again: bool = True, after: int = 0) -> None:
        super().__init__(text)
        self.again, self.after = again, after


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    text: str
    # Seconds after which the receiver wants to be asked again; 0 when it did not say.
    retry_after: int = 0


def networks_of(text: str) -> list[Network]:
    """The networks of a setting."""
    return [ipaddress.ip_network(word) for word in words_of(text)]


async def post(url: str, body: bytes, headers: Mapping[str, str], allowed: list[Network], seconds: float) -> Answer:
    """Raises Unanswered."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    target += "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~") if parts.query else ""
    lines = {"Host": parts.netloc, "Content-Length": str(len(body)), "Connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    request = f"POST {target} HTTP/1.1\r\n{head}\r\n".encode() + body
    try:
        async with asyncio.timeout(seconds):
            address = await _address(host, port, allowed)
            context = ssl.create_default_context() if parts.scheme == "https" else None
            reader, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=host if context else None, limit=HEAD
            )
            try:
                writer.write(request)
                return await _answer(reader)
            finally:
                writer.close()
    except TimeoutError:
        raise Unanswered(f"no answer within {seconds:g} seconds") from None
    except ssl.SSLCertVerificationError as error:
        raise Unanswered(f"the certificate of {host} is not trusted: {error.verify_message}") from None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Unanswered(f"{host} cannot be reached: {error}") from None


async def _address(host: str, port: int, allowed: list[Network]) -> str:
    """One that may be connected to; the name is not looked up again, since it could lead elsewhere by then."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise Unanswered(f"the name {host!r} cannot be resolved: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    good = [address for address in addresses if check_address(address, allowed)]
    if not good:
        where = ", ".join(sorted(set(addresses)))
        raise Unanswered(f"{host!r} leads to {where}, inside the data centre; webhook/allowedNetworks does not have it")
    return good[0]


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise Unanswered("it does not speak HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    after = headers.get("retry-after", "")
    text = "" if words[1].startswith("2") else (await reader.read(BODY)).decode(errors="replace")
    return Answer(int(words[1]), text, int(after) if after.isdecimal() and len(after) < 9 else 0)
