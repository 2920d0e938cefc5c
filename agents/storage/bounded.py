"""Looks at files that may not answer: in threads of their own, waited for so long and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
ANSWER_SECONDS = 15.0
# For one that is silent already; if it answers, the next look hears it.
AGAIN_SECONDS = 0.1


class Asking(Generic[T]):
    """One look at a time. A thread that hangs in a mount cannot be ended, and so must not be joined by others."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[T] | None = None

    async def ask(self, look: Callable[[], T], seconds: float | None = None) -> T:
        """What look gives or raises; TimeoutError when it does neither in time."""
        patience = AGAIN_SECONDS
        if self._answer is None:
            patience, self._answer = ANSWER_SECONDS if seconds is None else seconds, _begin(look)
        answer = self._answer
        done, _ = await asyncio.wait({answer}, timeout=patience)
        if not done:
            raise TimeoutError
        if self._answer is answer:
            self._answer = None
        return answer.result()


def _begin(look: Callable[[], T]) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(result)  # type: ignore[arg-type]
        else:
            answer.set_exception(error)
            # Nobody need be left who waits for it.
            answer.exception()

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = look()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the agent has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    # The executor's threads are few, and are joined when the agent ends.
    threading.Thread(target=run, name="look", daemon=True).start()
    return answer
