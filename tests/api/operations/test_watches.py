"""Watches and the scheduler while the store is away: nothing that is due is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from zcloud.kernel.clock import SECOND
from zcloud.kernel.leases import SoleOwner
from zcloud.kernel.log import unavailable
from zcloud.processes.operations.request_expunge import RequestExpunge
from zcloud.processes.operations.scheduling.watch import SchedulerWatch


async def load(_: str) -> Any:
    raise unavailable("the store is away")


def cloud() -> Any:
    return SimpleNamespace(leases=SoleOwner(), now=lambda: SECOND, load=load)


def test_a_watch_that_could_not_begin_begins_at_the_next_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    watch = RequestExpunge(cloud())

    def does(name: str, times: int) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            did.append(name)
            if did.count(name) >= times:
                return
            raise ZeroDivisionError

        return do

    async def pause() -> None:
        if len(did) == 5:
            raise asyncio.CancelledError

    for name, instead in (("begin", does("begin", 2)), ("look", does("look", 9)), ("_pause", pause)):
        monkeypatch.setattr(watch, name, instead)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch._run())
    assert did == ["begin", "look", "begin", "look", "look"]


def test_a_scheduler_that_cannot_be_read_is_due_again() -> None:
    async def go() -> None:
        watch = SchedulerWatch(cloud())
        await watch._fire("one")
        assert watch.due.next() == 2 * SECOND
        assert watch.due.take(2 * SECOND, 10) == ["one"]

    asyncio.run(go())
