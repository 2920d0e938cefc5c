"""Three nodes on a synchronous pair under Patroni, whose servers die and stand still while VMs are made (ARC-14)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from eventsourcing.persistence import PersistenceError

from tests.faults.cluster.account import Account
from tests.faults.cluster.nodes import cluster
from tests.faults.cluster.seed import Life
from tests.patroni.pair import Pair, running_pair

pytestmark = [pytest.mark.real, pytest.mark.timeout(0)]
NAMES = ("a", "b", "c")
# Between one thing that is done to the pair and the next.
LOAD_SECONDS = 3.0
# So many more answers show that all goes on.
MORE_ANSWERS = 10
SETTLED_SECONDS = 180.0
# A refusal comes quickly, and a failover takes half a minute: clients must not give up before.
MOST_TRIES = 20_000

Harm = Callable[[Pair], None]


def machine_dies(pair: Pair) -> None:
    """With its etcd; it comes back when the other has taken over, and must not write what it was left with."""
    leader = pair.leader()
    pair.databases[leader].kill()
    pair.leads(pair.other(leader))
    time.sleep(LOAD_SECONDS)
    pair.databases[leader].start()


def server_dies(pair: Pair) -> None:
    """PostgreSQL alone: Patroni starts it again, or lets the other take over."""
    pair.databases[pair.leader()].kill_database()


def machine_stands_still(pair: Pair) -> None:
    """It goes on when another writes, and believes for a moment that it does."""
    leader = pair.leader()
    pair.databases[leader].pause()
    pair.leads(pair.other(leader))
    time.sleep(LOAD_SECONDS)
    pair.databases[leader].go_on()


def standby_dies(pair: Pair) -> None:
    """The one that writes goes on alone, once Patroni has said so; then it has a standby again."""
    standby = pair.databases[pair.other(pair.leader())]
    standby.kill()
    time.sleep(LOAD_SECONDS)
    standby.start()


def operator_switches(pair: Pair) -> None:
    """For maintenance."""
    leader = pair.leader()
    pair.switch()
    pair.leads(pair.other(leader))


HARMS: list[Harm] = [machine_dies, server_dies, machine_stands_still, standby_dies, operator_switches]


class Watching(Account):
    """It reads from whoever writes, when somebody does."""

    async def read(self) -> None:
        end = time.monotonic() + SETTLED_SECONDS
        while True:
            try:
                return await super().read()
            except PersistenceError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.2)


class Failover(Life):
    """What suffers is the store; the nodes are left alone, and must come back by themselves."""

    def __init__(self, account: Account, seed: int, pair: Pair, harm: Harm) -> None:
        super().__init__(account, seed, SETTLED_SECONDS)
        self.pair, self.harm, self.faults = pair, harm, []

    async def _harm(self) -> None:
        began = time.monotonic()
        watches = [asyncio.create_task(watch()) for watch in (self._longest_silence, self._read)]
        await asyncio.to_thread(self.harm, self.pair)
        enough = len(self.answers) + MORE_ANSWERS
        async with asyncio.timeout(SETTLED_SECONDS):
            while len(self.answers) < enough:  # noqa: ASYNC110 - clients have no event to wait for
                await asyncio.sleep(0.1)
        await asyncio.to_thread(self.pair.whole)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        took = time.monotonic() - began
        print(f"{self.harm.__name__}: nobody was answered for {self.silence:.1f} s; whole again after {took:.1f} s")

    async def _read(self) -> None:
        """So that clients know of VMs that they can delete."""
        while True:
            await self.account.read()
            await asyncio.sleep(0.5)

    silence = 0.0

    async def _longest_silence(self) -> None:
        last, count = time.monotonic(), len(self.answers)
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            self.silence = max(self.silence, now - last)
            if len(self.answers) != count:
                last, count = now, len(self.answers)


@pytest.mark.parametrize("harms", [HARMS])
def test_nothing_that_was_answered_is_lost(harms: list[Harm], tmp_path: Path) -> None:
    """I1 to I9 behind each; whoever asks again gets the first answer."""

    async def run(pair: Pair) -> list[str]:
        async with cluster(tmp_path, pair.store, NAMES) as nodes:
            nodes.tries = MOST_TRIES
            account = Watching(nodes)
            try:
                for seed, harm in enumerate(harms):
                    if wrong := await Failover(account, seed, pair, harm).live():
                        account.tell(tmp_path / "log")
                        return [f"{harm.__name__}: {w}" for w in wrong]
                return await account.rows()
            finally:
                account.close()
                print(nodes.said())

    with running_pair() as pair:
        found = asyncio.run(partial(run, pair)())
    assert not found, f"{tmp_path / 'log'}\n" + "\n".join(found[:10])
