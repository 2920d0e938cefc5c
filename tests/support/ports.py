"""Ports for what must be found again at the same place after its death."""

from __future__ import annotations

import contextlib
import os
import random
import socket

# Each process of xdist has ports of its own, and the few above each that a program takes along.
_WORKERS, _ALONG = 8, 4
_taken: set[int] = set()


def free_port() -> int:
    """None of those that the kernel gives to whoever asks for any, or dials somebody: it is free until it is used, and
    again after each death."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    ports = range(12_000 + _ALONG * worker, 30_000, _ALONG * _WORKERS)
    if len(_taken) > len(ports) // 2:
        _taken.clear()  # most are of tests that are long over; those of others are in use
    while True:
        port = random.choice(ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            # On each address: some are of bridges, and who listens on all of them needs it on those as well.
            probe.bind(("0.0.0.0", port))
            if port not in _taken:
                _taken.add(port)
                return port
