"""One run by a seed: clients make, use and delete VMs while nodes are killed and paused by chance."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.faults.cluster.account import Account
from tests.faults.cluster.nodes import LEASE, Nodes
from tests.support.cloud import ApiError

CLIENTS = 4
# Before the first fault; a run with less is invalid.
LEAST_ANSWERS = 6
# So often it is looked whether there is as much.
BEGIN_LOOKS = 3000
# More VMs than these are deleted before others are made.
MOST_VMS = 10
# What is asked here is that it comes to rest; how soon (I6) is seen where time is counted, in tests/faults/harness.
SETTLED_SECONDS = 150.0
VERBS = ("Stop", "Start", "Reboot", "Pause", "Resume", "Delete", "Delete", "Expunge", "Expunge", "Recover")


class TooLittle(AssertionError):
    """The run is invalid: nothing went on that a fault could have harmed."""


@dataclass(frozen=True)
class Fault:
    """after, lasts: seconds; a pause ends with SIGCONT, a death with a start at the same doors."""

    node: str
    kill: bool
    after: float
    lasts: float


def pattern(chance: random.Random, names: tuple[str, ...]) -> list[Fault]:
    """One to three faults, on nodes by chance: one after the other, or at the same time, or on all of them."""
    found = []
    for name in chance.sample(names, chance.choice((1, 1, 2, 2, 3))):
        kill = chance.random() < 0.5
        lasts = chance.uniform(0.0, LEASE) if kill else chance.choice((chance.uniform(0.1, 3.0), 3.0)) * LEASE
        found.append(Fault(name, kill, chance.uniform(0.0, 0.5), lasts))
    return found


class Life:
    """One seed on a cluster that lives on."""

    def __init__(self, account: Account, seed: int, settled: float = SETTLED_SECONDS) -> None:
        self.nodes: Nodes = account.nodes
        self.account, self.seed, self.settled = account, seed, settled
        self.chance = random.Random(seed)
        self.faults = pattern(self.chance, self.nodes.names)
        self.answers: dict[str, Any] = {}
        self.asked: dict[str, tuple[str, dict[str, Any]]] = {}
        self.wrong: list[str] = []
        self._over = False

    async def live(self) -> list[str]:
        """What was wrong."""
        await self.account.read()
        self.account.begin()
        clients = [asyncio.create_task(self._client(random.Random(f"{self.seed}/{n}"), n)) for n in range(CLIENTS)]
        try:
            await self._busy(clients)
            await self._harm()
        finally:
            self._over = True
            _, waiting = await asyncio.wait(clients, timeout=self.settled)
            for client in waiting:
                client.cancel()
        await asyncio.gather(*(set(clients) - waiting))
        self.wrong += ["I6: a client waits in vain"] * bool(waiting)
        wrong = await self.account.settle(self.settled)
        self.wrong += self.account.owners.violations()
        if not wrong:
            await self.nodes.shared_out()
            wrong = [*await self.account.violations(self.answers, self.settled / 3), *await self._repeated()]
        return [f"{w} ({self.faults})" for w in (*self.wrong, *wrong)]

    async def _busy(self, clients: list[asyncio.Task[None]]) -> None:
        """Until enough goes on."""
        for _ in range(BEGIN_LOOKS):
            await self.account.read()
            acted = len(self.account.effects.done)
            if len(self.answers) >= LEAST_ANSWERS and acted >= LEAST_ANSWERS and self.account.active():
                return
            if any(client.done() for client in clients):
                break
            await asyncio.sleep(0.02)
        raise TooLittle(f"{len(self.answers)} answers, {len(self.account.effects.done)} effects")

    async def _harm(self) -> None:
        await asyncio.gather(*map(self._suffer, self.faults))

    async def _suffer(self, fault: Fault) -> None:
        await asyncio.sleep(fault.after)
        if fault.kill:
            await asyncio.to_thread(self.nodes.kill, fault.node)
            await asyncio.sleep(fault.lasts)
            await self.nodes.up(fault.node)
        else:
            self.nodes.pause(fault.node)
            await asyncio.sleep(fault.lasts)
            self.nodes.go_on(fault.node)

    # -- clients

    async def _client(self, chance: random.Random, name: int) -> None:
        number = 0
        while not self._over:
            number += 1
            rpc, fields = self._command(chance, f"vm-{self.seed}-{name}-{number}")
            answer = await self._command_answered(chance, f"{self.seed}/{name}/{number}", rpc, fields)
            if answer is not None and answer.job_uuid and chance.random() < 0.7:
                await self.nodes.ended(chance, answer.job_uuid, partial(self._rests, answer.job_uuid))

    async def _rests(self, job_uuid: str) -> bool:
        """Whether it waits for an operator, of whom there is none here."""
        await self.account.read()
        return job_uuid in self.account.lake.fold.views and self.account.rests(self.account.job(job_uuid))

    def _command(self, chance: random.Random, name: str) -> tuple[str, dict[str, Any]]:
        vms = [m.uuid for m in self.account.lake.fold.all("vm_instance")]
        if not vms or (len(vms) < MOST_VMS and chance.random() < 0.5):
            return "CreateVmInstance", self.nodes.ground.fields(name=name, memory_size=1 << 28)
        kind = chance.random()
        # A host whose connect was cancelled is let be for half a minute.
        jobs = [job for job in self.account.active() if job.resource_kind == "vm_instance"]
        if kind < 0.05 and jobs:
            return "CancelJob", {"uuid": chance.choice(jobs).uuid}
        if kind < 0.08:
            return "ReconnectHost", {"uuid": chance.choice(self.nodes.ground.hosts).host_uuid}
        return f"{chance.choice(VERBS)}VmInstance", {"uuid": chance.choice(vms)}

    async def _command_answered(self, chance: random.Random, key: str, rpc: str, fields: dict[str, Any]) -> Any:
        """Sometimes two nodes are asked the same at once: both say the same, or one of them is not heard."""
        times = 2 if chance.random() < 0.3 else 1
        told = [a for a in await asyncio.gather(*(self._ask(chance, key, rpc, fields) for _ in range(times))) if a]
        if len({a.SerializeToString() for a in told}) > 1:
            self.wrong.append(f"I1: {rpc} was answered in two ways")
        if told:
            self.answers[key], self.asked[key] = told[0], (rpc, fields)
        return told[0] if told else None

    async def _ask(self, chance: random.Random, key: str, rpc: str, fields: dict[str, Any]) -> Any:
        try:
            return await self.nodes.ask(chance, rpc, key, **fields)
        except ApiError as error:
            if error.code in ("INTERNAL", "UNKNOWN"):
                self.wrong.append(f"{rpc} failed: {error}")
            return None

    async def _repeated(self) -> list[str]:
        """I1: whoever asks again long after gets the first answer, from any node."""
        found = []
        for key in self.chance.sample(sorted(self.asked), min(4, len(self.asked))):
            rpc, fields = self.asked[key]
            try:
                again = await self.nodes.ask(self.chance, rpc, key, **fields)
            except ApiError as error:
                found.append(f"I1: {rpc} was answered, and is refused when it is asked again: {error}")
                continue
            if again != self.answers[key]:
                found.append(f"I1: {rpc} is answered in another way when it is asked again")
        return found
