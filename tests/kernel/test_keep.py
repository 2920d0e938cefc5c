"""What is kept begins anew whatever broke it off, and ends when it is done or told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.children import ended
from tests.kernel.toy import Kernel, running
from zcloud.kernel.adoption import Adoption
from zcloud.kernel.keep import SELDOM_SECONDS, WELL_SECONDS, Turns, keep, tell
from zcloud.kernel.keep import log as keeping
from zcloud.kernel.log import unavailable


def test_work_begins_anew_until_it_is_done(caplog: pytest.LogCaptureFixture) -> None:
    async def cancelled_by_another() -> None:
        other = asyncio.ensure_future(asyncio.sleep(60))
        other.cancel()
        await other

    async def breaks(error: Exception) -> None:
        raise error

    turns: list[Any] = [
        lambda: breaks(ZeroDivisionError()),
        lambda: breaks(unavailable("the store is away")),
        cancelled_by_another,
        lambda: asyncio.sleep(0),
    ]
    asyncio.run(keep(lambda: turns.pop(0)(), "some work", 0.0))
    assert not turns
    assert [record.getMessage().partition(":")[0] for record in caplog.records if record.name == keeping.name] == [
        "some work"
    ] * 3


def pauses_of(error: Exception, number: int) -> list[float]:
    """How long work that breaks off with this error each time is left alone."""
    pauses: list[float] = []

    async def breaks() -> None:
        if len(pauses) < number:
            raise error

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    asyncio.run(keep(breaks, "some work", 1.0, sleep))
    return pauses


def test_what_breaks_off_again_and_again_takes_no_core_and_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """ARC-12: the first time it is soon, as a takeover must be."""
    pauses = pauses_of(ZeroDivisionError(), 2000)
    assert pauses[0] == 1.0
    assert all(2.0 ** (n - 1) <= pauses[n] <= 2.0**n for n in range(1, 5))
    assert all(15.0 <= pause <= 30.0 for pause in pauses[5:])
    assert len(set(pauses)) > 100
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_what_waits_for_a_store_notices_soon_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    assert all(1.0 <= pause <= 2.0 for pause in pauses_of(unavailable("the store is away"), 100))
    assert len(caplog.records) == 1


def test_who_served_for_a_while_begins_soon_again_and_who_never_did_does_not() -> None:
    now = 0.0
    turns = Turns("a process", monotonic=lambda: now)

    def after(seconds: float, why: str = "it ended with 1", *, served: bool = True) -> tuple[bool, bool]:
        """Whether that it broke off then is said, and whether the pause is the first one's."""
        nonlocal now
        turns.serves()
        now += seconds
        return turns.broke(why, served=served), turns.pause() == 1.0

    assert after(0.0) == (True, True)
    assert after(WELL_SECONDS - 1.0) == (False, False)
    assert after(1.0, "it ended with 2") == (True, False)
    assert after(100.0, "it ended with 2", served=False) == (False, False)
    assert after(SELDOM_SECONDS, "it ended with 2", served=False) == (True, False)
    assert after(WELL_SECONDS, "it ended with 2") == (True, True)


def test_work_that_is_cancelled_ends() -> None:
    async def go() -> None:
        task = asyncio.ensure_future(keep(lambda: asyncio.sleep(60), "some work"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())


def test_one_that_breaks_keeps_the_news_from_nobody() -> None:
    heard: list[int] = []
    tell((heard.append, lambda _: heard[7], heard.append), 1)
    assert heard == [1, 1]


def test_a_process_that_does_not_end_is_killed() -> None:
    async def go() -> int:
        return await ended(await asyncio.create_subprocess_exec("sleep", "600"), 0.0)

    assert asyncio.run(go()) == -9


def test_a_log_whose_listeners_break_answers_and_tells_the_others(tmp_path: Path) -> None:
    """So does its writer, when who waits for it cannot be counted."""

    def breaks(*_: object) -> int:
        raise ZeroDivisionError

    async def go(kernel: Kernel) -> None:
        heard: list[int] = []
        kernel.log.crowd = breaks
        kernel.log.listen(breaks)  # type: ignore[arg-type]
        kernel.log.listen(lambda records: heard.append(len(records)))
        async with asyncio.timeout(60):
            await kernel.create("a")
            await kernel.create("b")
        assert heard == [1, 1]
        assert kernel.log.head == 2

    async def started() -> None:
        async with running(tmp_path) as kernel:
            await go(kernel)

    asyncio.run(started())


def test_jobs_are_adopted_though_they_could_not_be_looked_up_at_first(tmp_path: Path) -> None:
    failures: list[Exception] = [ZeroDivisionError(), unavailable("the store is away")]
    driven: list[str] = []

    async def active() -> list[str]:
        if failures:
            raise failures.pop()
        return ["job"]

    async def go() -> None:
        async with running(tmp_path) as kernel:
            kernel.cloud.clock.sleep = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]
            adoption = Adoption(kernel.cloud, active, driven.append, lambda _: None)
            adoption._on_change(frozenset(range(64)), frozenset())
            async with asyncio.timeout(60):
                await asyncio.gather(*adoption._looking)
            await adoption.close()

    asyncio.run(go())
    assert driven == ["job"]
