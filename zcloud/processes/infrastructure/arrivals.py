"""Hosts whose agents have dialled in: so many at a time are connected in full, the others wait their turn.

After a restart of a node all of them come at once. Their sessions are open at once, too; the jobs that connect them
would be in each other's way, and in the way of everybody who calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

AT_ONCE = 32
# A host that does not answer holds nobody up for longer; its job has more time.
LONGEST_SECONDS = 10.0


class Arrivals:
    """begin: starts to connect a host; done() is to be called when that has ended."""

    def __init__(self, begin: Callable[[str], None], at_once: int = AT_ONCE) -> None:
        self._begin = begin
        self._at_once = at_once
        self._waiting: dict[str, None] = {}
        self._under_way: dict[str, asyncio.TimerHandle] = {}

    def add(self, host_uuid: str) -> None:
        """Connect it now, or when its turn comes."""
        self._waiting[host_uuid] = None
        self._go_on()

    def gone(self, host_uuid: str) -> None:
        """Its session is over, so nothing is to be done."""
        self._waiting.pop(host_uuid, None)

    def done(self, host_uuid: str) -> None:
        """It is connected, or is known not to be."""
        timer = self._under_way.pop(host_uuid, None)
        if timer is not None:
            timer.cancel()
            self._go_on()

    def close(self) -> None:
        """Begin with nobody any more."""
        self._waiting.clear()
        for timer in self._under_way.values():
            timer.cancel()

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        # One that came again while it is being connected is connected again, afterwards.
        free = (uuid for uuid in self._waiting if uuid not in self._under_way)
        for host_uuid in list(islice(free, max(0, self._at_once - len(self._under_way)))):
            del self._waiting[host_uuid]
            self._under_way[host_uuid] = loop.call_later(LONGEST_SECONDS, self.done, host_uuid)
            self._begin(host_uuid)
