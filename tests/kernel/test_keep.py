"""What is kept begins anew whatever broke it off, and ends when it is done or told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.children import ended
from tests.kernel.toy import Kernel, running
from zcloud.kernel.adoption import Adoption
from zcloud.kernel.keep import keep, tell
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
