"""An event loop whose time jumps to the next timer: a run of hours takes milliseconds, and is the same each time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

from zcloud.kernel.clock import SECOND

EPOCH = 1_700_000_000


class Deadlock(Exception):
    """Everybody waits for somebody."""


class Owner:
    """A process as far as the harness is concerned: what it started ends with it, and it starts nothing any more."""

    def __init__(self) -> None:
        self.dead = False
        # In the order in which they began: sets of objects have another one in each process.
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def own(self, coroutine: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Start something as part of this process."""
        token = OWNER.set(self)
        try:
            return asyncio.get_running_loop().create_task(coroutine, name=name or None)
        finally:
            OWNER.reset(token)

    def die(self) -> None:
        """As by SIGKILL: nothing of it runs another line that reaches anybody."""
        self.dead = True
        for task in list(self.tasks):
            task.cancel()


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


def later(seconds: float, start: Callable[[], Coroutine[Any, Any, Any] | None]) -> None:
    """Let the outside world do something: it ends with nobody's process."""
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[Any]] = set()

    def act() -> None:
        made = start()
        if made is not None:
            running.add(task := loop.create_task(made))
            task.add_done_callback(running.discard)

    loop.call_later(seconds, act, context=Context())


class _Selector(selectors.DefaultSelector):
    """Nothing comes from outside: where one would wait, time passes instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock("nothing is left that could happen")
        if timeout > 0:
            self.loop.virtual += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Use run()."""

    def __init__(self) -> None:
        self.virtual = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self.virtual


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    owner = OWNER.get()
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(lambda done: owner.tasks.pop(done, None))
        if owner.dead:
            task.cancel()
    return task


class VirtualClock:
    """The kernel's clock on the loop's time."""

    def __init__(self, begin: float = 0.0) -> None:
        self.begin = begin

    def now(self) -> int:
        return int((EPOCH + self.begin + asyncio.get_running_loop().time()) * SECOND)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """In a loop of its own; whatever is left is cancelled."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        for _ in range(5):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
