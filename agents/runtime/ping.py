"""Asks a machine whether it is there, by an ICMP echo."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct

TRIES, WAIT_SECONDS = 3, 1.0


async def answers(address: str, source: str) -> bool:
    """Whether it answers one of a few. source: our address. Raises PermissionError without the right to ask."""
    is_v6 = ipaddress.ip_address(address).version == 6
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if is_v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    request, reply, header = (128, 129, 0) if is_v6 else (8, 0, 20)
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_RAW, protocol) as asking:
        asking.setblocking(False)
        asking.bind((source, 0))
        word = os.urandom(16)
        for number in range(TRIES):
            try:
                await loop.sock_sendto(asking, _echo(request, number, word), (address, 0))
                async with asyncio.timeout(WAIT_SECONDS):
                    while True:
                        packet = await loop.sock_recv(asking, 1024)
                        # All echoes of the machine come here: ours bears our word, and is no request.
                        if packet[header : header + 1] == bytes([reply]) and packet.endswith(word):
                            return True
            except (TimeoutError, OSError):
                continue
    return False


def _echo(kind: int, number: int, word: bytes) -> bytes:
    body = struct.pack("!HH", os.getpid() & 0xFFFF, number) + word
    total = sum(struct.unpack(f"!{len(body) // 2}H", body)) + (kind << 8)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBH", kind, 0, ~total & 0xFFFF) + body
