"""Time as the kernel sees it: microseconds since 1970 in UTC, injected so that tests can turn it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

SECOND = 1_000_000


class Clock(Protocol):
    """What everything that needs the time is given."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when this much time has gone by."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FakeClock:
    """A clock that moves only when it is told to."""

    def __init__(self, now: int = 1_700_000_000 * SECOND) -> None:
        self._now = now
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self._now

    async def sleep(self, seconds: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + int(seconds * SECOND), done))
        await done

    def advance(self, seconds: float) -> None:
        """Move on, and wake whoever slept until then."""
        self._now += int(seconds * SECOND)
        due = [s for s in self._sleepers if s[0] <= self._now]
        self._sleepers = [s for s in self._sleepers if s[0] > self._now]
        for _, done in due:
            if not done.done():
                done.set_result(None)
