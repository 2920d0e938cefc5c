"""Work that goes on as long as its process lives: what breaks it off is said in the log, and it begins again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from zcloud.kernel.errors import Refused

log = logging.getLogger(__name__)
AGAIN_SECONDS = 1.0


async def keep(
    work: Callable[[], Awaitable[None]],
    name: str,
    again: float = AGAIN_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Until the work returns, or this is cancelled. Work must be able to begin anew at whatever it was broken off."""
    while True:
        try:
            await work()
            return
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.error("%s: what it waited for was cancelled; it begins again", name)
        except Refused as refused:
            log.warning("%s: it goes on in a moment: %s", name, refused.message)
        except Exception:
            log.exception("%s: it broke off, and begins again", name)
        await sleep(again)


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
