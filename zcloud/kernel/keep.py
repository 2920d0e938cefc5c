"""Work that goes on as long as its process lives: what breaks it off is said in the log, and it begins again.

Soon at first, then later and later: what can't be done must take no core, and fill no log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from zlib import crc32

from zcloud.kernel.errors import Code, Refused

log = logging.getLogger(__name__)
AGAIN_SECONDS = 1.0
# The longest pause of what breaks off again and again.
LONGEST_SECONDS = 30.0
# What ran for so long was well: when it breaks off now, that is the first time.
WELL_SECONDS = 30.0
# After this time the same error is worth another word.
SELDOM_SECONDS = 300.0


class BrokeOff(Exception):
    """What the text says is all there is to say. served: whether it was of use before."""

    def __init__(self, text: str, *, served: bool = True) -> None:
        super().__init__(text)
        self.served = served


class Turns:
    """When what broke off begins again, and whether that is worth a word. first: the pause after the first time."""

    def __init__(
        self, name: str, first: float = AGAIN_SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._first = first
        self._monotonic = monotonic
        self._tries = 0
        self._since: float | None = None
        self._said = ""
        self._when = 0.0

    def serves(self) -> None:
        """From now on it is of use."""
        self._since = self._monotonic()

    def broke(self, why: str, *, served: bool = True) -> bool:
        """Whether this is news. Unless it served nobody it may have been well for a while."""
        now = self._monotonic()
        if served and self._since is not None and now - self._since >= WELL_SECONDS:
            self._tries, self._said = 0, ""
        self._since = None
        if why == self._said and now - self._when < SELDOM_SECONDS:
            return False
        self._said, self._when = why, now
        return True

    def pause(self, *, soon: bool = False) -> float:
        """Seconds until it begins again. soon: it takes little, and has to see in time that what it needs is back."""
        # Not all at the same moment, and yet the same in each run.
        spread = crc32(f"{self._name} {self._tries}".encode()) / 2**32
        if soon:
            return self._first * (1 + spread)
        tries = min(self._tries, 10)
        self._tries += 1
        if not tries:
            return self._first
        return min(self._first * 2.0**tries, max(self._first, LONGEST_SECONDS)) * (0.5 + spread / 2)


async def keep(
    work: Callable[[], Awaitable[None]],
    name: str,
    again: float = AGAIN_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Until the work returns, or this is cancelled. Work must be able to begin anew at whatever it was broken off."""
    turns = Turns(name, again)
    while True:
        turns.serves()
        soon = False
        try:
            await work()
            return
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            if turns.broke("cancelled"):
                log.error("%s: what it waited for was cancelled; it begins again", name)
        except Refused as refused:
            soon = passes(refused)
            if turns.broke(refused.message):
                log.warning("%s: it goes on in a moment: %s", name, refused.message)
        except BrokeOff as error:
            if turns.broke(str(error), served=error.served):
                log.error("%s: it begins again: %s", name, error)
        except Exception as error:
            if turns.broke(repr(error)):
                log.exception("%s: it broke off, and begins again", name)
        await sleep(turns.pause(soon=soon))


def passes(error: BaseException) -> bool:
    """Whether it will be over by itself: the store is away, or everybody writes the same."""
    return isinstance(error, Refused) and error.code in (Code.ABORTED, Code.UNAVAILABLE)


def keeper(work: Callable[[], Awaitable[None]], name: str, again: float = AGAIN_SECONDS) -> asyncio.Task[None]:
    """The work in a task of its own, which has to be held and, at the end, cancelled."""
    return asyncio.get_running_loop().create_task(keep(work, name, again), name=name)


def tell(listeners: Iterable[Callable[..., None]], *news: Any) -> None:
    """Call each: one that breaks does not keep the news from the others, nor from who waits behind them."""
    for listener in listeners:
        try:
            listener(*news)
        except Exception:
            log.exception("%r could not take what it was told", listener)
