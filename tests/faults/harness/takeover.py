"""Two nodes on one real log: each is paused in the middle of what it decides, while the other takes its work over."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.faults.harness.lake import Fold
from zcloud.domain.infrastructure.zone import Zone
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Refused
from zcloud.kernel.ids import SeededIds
from zcloud.kernel.leases import SharedLeases, partition_of
from zcloud.kernel.log import Log
from zcloud.kernel.store.postgres import PostgresRecorder
from zcloud.kernel.store.postgres_leases import PostgresLeases
from zcloud.kernel.unit import Unit

SECONDS = 3600.0


class Owner:
    """The write side of one node. Its own clock stands still while it is paused, so that it notices nothing."""

    def __init__(self, address: str, name: str, seed: int) -> None:
        self.name = name
        self.recorder, self.table = PostgresRecorder(address), PostgresLeases(address)
        self.log = Log(self.recorder)
        self.cloud = Cloud(self.log, ids=SeededIds(seed))
        self.cloud.ports["views"] = Fold()
        self.leases = SharedLeases(self.table, name, name * 2, dict, SECONDS, lambda: 0.0)
        self.cloud.leases = self.leases

    async def beat(self, *, join: bool = False) -> None:
        """Live, and own what is one's own."""
        await self.leases._beat(join=join)

    def expire(self) -> None:
        """The store has not heard of it for longer than its leases hold."""
        self.table.beat(self.name, self.leases.instance, 0.0, {}, join=False)

    async def does(self, work: str, mark: str, meanwhile: Any = None) -> bool:
        """Decide something that no version of any stream objects to; whether it was written."""

        async def body(unit: Unit) -> None:
            if meanwhile is not None:
                await meanwhile()
            (await unit.new(Zone)).create(name=mark)

        actor = Actor("a" * 32, self.name, "", "test", True)
        try:
            await self.cloud.decide(Context(actor, self.name), body, fenced=work)
        except Refused:
            return False
        return True

    def close(self) -> None:
        self.log.close()
        self.recorder.close()
        self.table.close()


async def takeover(address: str, seed: int, turns: int = 6) -> list[str]:
    """What was written by a node whose work was another's by then, or was not written by its owner."""
    chance = random.Random(seed)
    nodes = [Owner(address, name, seed + n) for n, name in enumerate("ab")]
    wrong = []
    try:
        for node in nodes:
            node.log.start()
            await node.beat(join=True)
        for turn in range(turns):
            for node in (*nodes, *nodes):
                await node.beat()
            paused, other = chance.sample(nodes, 2)
            work = _work_of(paused, chance)
            if not await paused.does(work, f"{turn} in time"):
                wrong.append(f"turn {turn}: {paused.name} owns partition {partition_of(work)}, and was refused")

            async def taken(paused: Owner = paused, other: Owner = other, work: str = work) -> None:
                paused.expire()
                await other.beat()
                assert other.leases.owns(work), "the run is invalid: nothing was taken over"

            if await paused.does(work, f"{turn} too late", taken):
                wrong.append(f"turn {turn}: {paused.name} wrote what was {other.name}'s by then")
            if not await other.does(work, f"{turn} taken over"):
                wrong.append(f"turn {turn}: {other.name} took partition {partition_of(work)}, and was refused")
    finally:
        await asyncio.sleep(0)
        for node in nodes:
            node.close()
    return wrong


def _work_of(owner: Owner, chance: random.Random) -> str:
    while True:
        work = f"{chance.getrandbits(128):032x}"
        if owner.leases.owns(work):
            return work
