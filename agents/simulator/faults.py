"""Faults and delays to order, for simulated hosts."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable, Mapping

from agents.runtime.task import TaskError, Work


class Faults:
    """Which tasks fail: some of a kind by chance, or the next ones of a kind for certain."""

    def __init__(self, percent: Mapping[str, float] | None = None, chance: Callable[[], float] = random.random) -> None:
        self._percent = dict(percent or {})
        self._chance = chance
        self._ordered: defaultdict[str, deque[TaskError]] = defaultdict(deque)

    def order(self, task: str, error: TaskError, times: int = 1) -> None:
        """Let the next tasks of this name (StartVmTask) fail with this error."""
        self._ordered[task].extend([error] * times)

    def check(self, task: str) -> None:
        """Raise what is in store for a task of this name."""
        if self._ordered[task]:
            raise self._ordered[task].popleft()
        if self._chance() * 100 < self._percent.get(task, 0):
            raise TaskError("FAILED", f"{task} failed, as the simulator was told it should now and then")


class Pace:
    """How long tasks take here, and whether they come to an end."""

    def __init__(self, delay: float = 0.0, faults: Faults | None = None) -> None:
        self.delay = delay
        self.faults = faults or Faults()

    async def before(self, task: str, work: Work) -> None:
        """Spend the time, give up when asked to, fail when ordered to; nothing has happened by then."""
        if self.delay > 0:
            work.progress(0, "simulated")
            try:
                async with asyncio.timeout(self.delay):
                    await work.aborted.wait()
            except TimeoutError:
                pass
        work.check()
        self.faults.check(task)
