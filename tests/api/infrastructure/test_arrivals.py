"""A storm of agents: so many hosts at a time are connected in full, each of them once, none is forgotten (ARC-14)."""

from __future__ import annotations

import asyncio

from tests.faults.harness.lake import Handle, InlineLog, Lake
from tests.faults.harness.loop import VirtualClock, run
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.errors import Code, Reason, Refused, precondition
from zcloud.processes.infrastructure.arrivals import AT_ONCE, LONGEST_SECONDS, Arrivals
from zcloud.processes.infrastructure.host_watch import (
    GRACE_SECONDS,
    RETRY_SECONDS,
    STORM_STEP_SECONDS,
    TRIES,
    HostWatch,
)


def test_never_more_than_so_many_at_once_and_all_in_turn() -> None:
    async def scenario() -> None:
        begun: list[str] = []
        arrivals = Arrivals(begun.append, at_once=2)
        for host in "abcde":
            arrivals.add(host)
        arrivals.add("c")
        assert begun == ["a", "b"]
        arrivals.done("b")
        arrivals.done("b")
        arrivals.done("who was never there")
        assert begun == ["a", "b", "c"]
        arrivals.gone("d")
        arrivals.done("a")
        arrivals.done("c")
        assert begun == ["a", "b", "c", "e"]

    run(scenario())


def test_one_that_comes_back_while_it_is_connected_is_connected_again_afterwards() -> None:
    async def scenario() -> None:
        begun: list[str] = []
        arrivals = Arrivals(begun.append, at_once=2)
        arrivals.add("a")
        arrivals.add("a")
        assert begun == ["a"]
        arrivals.add("b")
        assert begun == ["a", "b"]
        arrivals.done("a")
        assert begun == ["a", "b", "a"]

    run(scenario())


def test_hosts_that_do_not_answer_hold_nobody_up_for_long() -> None:
    async def scenario() -> None:
        begun: list[str] = []
        arrivals = Arrivals(begun.append, at_once=1)
        for host in "abc":
            arrivals.add(host)
        await asyncio.sleep(LONGEST_SECONDS * 2.5)
        assert begun == ["a", "b", "c"]

    run(scenario())


def test_hosts_that_are_slow_to_come_back_are_not_lost_while_others_still_come() -> None:
    async def scenario() -> None:
        there: set[str] = set()
        watch = HostWatch(Cloud(InlineLog(Handle(Lake(), lambda _moment: False)), VirtualClock()), there.__contains__)  # type: ignore[arg-type]
        lost: list[str] = []
        watch.lost = lost.append  # type: ignore[method-assign]
        everybody = [f"host-{n}" for n in range(6)]

        async def hosts() -> list[str]:
            return everybody

        watch.start(hosts)
        await asyncio.sleep(GRACE_SECONDS)
        for host in everybody[:4]:
            assert lost == []
            there.add(host)
            await asyncio.sleep(STORM_STEP_SECONDS)
        await asyncio.sleep(STORM_STEP_SECONDS * 2)
        assert lost == everybody[4:]
        await watch.close()

    run(scenario())


def test_thousands_that_are_lost_at_once_wait_and_who_comes_back_meanwhile_is_not_lost() -> None:
    async def scenario() -> None:
        there: set[str] = set()
        looked: list[str] = []

        def is_connected(host: str) -> bool:
            looked.append(host)
            return host in there

        watch = HostWatch(Cloud(InlineLog(Handle(Lake(), lambda _moment: False)), VirtualClock()), is_connected)  # type: ignore[arg-type]
        decided: list[str] = []
        under_way = asyncio.Semaphore(AT_ONCE)

        async def decide(reason: str, body: object) -> None:
            assert not under_way.locked(), "more than so many at once"
            async with under_way:
                decided.append(looked[-1])
                await asyncio.sleep(1)

        watch._decide = decide  # type: ignore[method-assign,assignment]
        everybody = [f"host-{n}" for n in range(3 * AT_ONCE)]
        for host in everybody:
            watch.lost(host)
        await asyncio.sleep(1.5)
        there.update(everybody)
        await asyncio.sleep(10)
        assert decided == everybody[: 2 * AT_ONCE]
        await watch.close()

    run(scenario())


def test_what_is_refused_is_tried_ever_later_until_something_newer_waits_and_nonsense_only_some_times() -> None:
    """HST-04: a loss is never lost by a fault that passes, and holds up nothing that came after it for ever."""

    async def scenario() -> None:
        watch = HostWatch(Cloud(InlineLog(Handle(Lake(), lambda _moment: False)), VirtualClock()), lambda _host: True)  # type: ignore[arg-type]
        now = asyncio.get_running_loop().time
        tried: dict[str, list[float]] = {"away": [], "refused": [], "nonsense": [], "newer": []}
        errors = {
            "away": Refused(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, "the store is away"),
            "refused": precondition(Reason.WRONG_STATE, "not now"),
            "nonsense": ValueError("what is this?"),
        }

        async def take(host: str, what: str) -> None:
            tried[what].append(now())
            if what in errors:
                raise errors[what]

        def said(host: str, what: str) -> None:
            watch._later(host, lambda: take(host, what))

        for what in errors:
            said(f"host of {what}", what)
        await asyncio.sleep(3600)
        assert len(tried["nonsense"]) == TRIES
        # Others have to see in time that the store is back; what is refused is asked for seldom.
        assert 3600 / (2 * RETRY_SECONDS) - 1 <= len(tried["away"]) <= 3600 / RETRY_SECONDS
        assert TRIES < len(tried["refused"]) < 3600 / 15 + TRIES
        said("host of refused", "newer")
        said("host of away", "newer")
        await asyncio.sleep(60)
        assert len(tried["newer"]) == 1
        del errors["away"]
        await asyncio.sleep(60)
        assert len(tried["newer"]) == 2
        assert not watch._lanes
        await watch.close()

    run(scenario())
