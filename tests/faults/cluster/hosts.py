"""Simulated hosts whose effects are counted, with agents that notice soon when their node has fallen silent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from agents.runtime import channel
from agents.simulator.host import SimulatedHost
from tests.faults.harness.hosts import Effects, Watched

IMPATIENT = {
    "grpc.keepalive_time_ms": 1200,
    "grpc.keepalive_timeout_ms": 1200,
    "grpc.min_reconnect_backoff_ms": 600,
}


class CountedHost(SimulatedHost):
    """What was really done on it is written down, task by task."""

    def __init__(self, host_uuid: str, effects: Effects, **size: int) -> None:
        super().__init__(host_uuid, **size)
        self.effects = effects

    def handlers(self) -> list[Any]:
        return [Watched(handler, self.effects) for handler in super().handlers()]


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """For agents that dial while it lasts."""
    before = channel.CLIENT_OPTIONS
    channel.CLIENT_OPTIONS = [*((k, v) for k, v in before if k not in IMPATIENT), *IMPATIENT.items()]
    try:
        yield
    finally:
        channel.CLIENT_OPTIONS = before
