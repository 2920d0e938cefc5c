"""A storm of agents: so many hosts at a time are connected in full, each of them once, none is forgotten (ARC-14)."""

from __future__ import annotations

import asyncio

from tests.faults.harness.loop import run
from zcloud.processes.infrastructure.arrivals import LONGEST_SECONDS, Arrivals


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
