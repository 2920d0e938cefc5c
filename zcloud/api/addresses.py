"""Addresses that several processes listen at: taken for all of them by one that does not listen."""

from __future__ import annotations

import socket

from zcloud.api.server import NO_DOOR, NoDoor


def hold(address: str) -> tuple[str, socket.socket]:
    """host:port with the port that is taken now, and the socket that keeps it. Raises NoDoor."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, where = found[0]
        with socket.create_server(where[:2], family=family) as alone:  # fails when somebody else has it
            taken = alone.getsockname()[1]
        holder = socket.socket(family)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((where[0], taken))  # it does not listen, so that nothing is ever given to it
    except (OSError, ValueError):
        raise NoDoor(NO_DOOR.format(address)) from None
    return f"{host}:{taken}", holder
