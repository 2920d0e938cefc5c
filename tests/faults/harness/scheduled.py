"""A cloud whose schedulers run: nodes that die at a boundary of an occurrence, clocks that jump, two nodes at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.faults.harness.books import violations
from tests.faults.harness.cloud import FaultNode, Run
from tests.faults.harness.grounds import ground
from tests.faults.harness.lake import InlineLog
from tests.faults.harness.loop import VirtualClock
from tests.faults.harness.loop import run as run_loop
from zcloud.api.operations.actions import Actions
from zcloud.domain.identity.account import ADMIN_UUID, Account, AccountType
from zcloud.domain.operations.scheduler import Scheduler, SchedulerClock
from zcloud.domain.operations.scheduler_occurrence import GOING, SchedulerOccurrence
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.watch import SchedulerWatch

INTERVAL = 20
RUNS = 2


class ScheduledRun(Run):
    """Each life of its node has a watch of schedulers, and there may be a second node that has nothing else."""

    second: FaultNode | None = None
    # By how many seconds the clocks of its nodes are wrong.
    wrong_by = 0.0

    async def start_node(self) -> None:
        await super().start_node()
        assert self.node is not None
        self._watch(self.node)

    def _watch(self, node: FaultNode) -> None:
        async def begin() -> None:
            SchedulerWatch(node.cloud).start()

        node.cloud.ports["actions"] = Actions(node)
        self._set(node)
        node.own(begin())

    def _set(self, node: FaultNode) -> None:
        clock = node.cloud.clock
        assert isinstance(clock, VirtualClock)
        clock.begin = self.begin + self.wrong_by

    def turn(self, seconds: float) -> None:
        """The clocks jump."""
        self.wrong_by += seconds
        for node in (self.node, self.second):
            if node is not None:
                self._set(node)

    async def start_second(self) -> None:
        """Another node on the same log."""
        self.lives += 1
        self.second = FaultNode(self)
        self.second.log.start()
        for node in (self.node, self.second):
            assert node is not None
            self.lake.listeners.append(lambda records, log=node.log: later_told(log, records))
        self._watch(self.second)

    @property
    def occurrences(self) -> list[SchedulerOccurrence]:
        """All there are."""
        return [o for o in self.lake.fold.all("scheduler_occurrence") if isinstance(o, SchedulerOccurrence)]

    async def ran(self, number: int, seconds: float = 9000) -> None:
        """So many occurrences have ended, and none goes on."""
        async with asyncio.timeout(seconds):
            while len(self.occurrences) < number or any(o.state in GOING for o in self.occurrences):  # noqa: ASYNC110
                await asyncio.sleep(0.25)


def later_told(log: InlineLog, records: list[Any]) -> None:
    """What one node has written the other hears of in a moment."""
    asyncio.get_running_loop().call_soon(log._publish, records)


async def open_account(run: Run) -> None:
    """Of the admin, whose rights are asked for at each run."""

    async def body(unit: Unit) -> None:
        (await unit.new(Account, ADMIN_UUID)).create(name="admin", password_hash="-", type=AccountType.ADMIN)

    assert run.node is not None
    await run.node.cloud.decide(Context(SYSTEM), body)


@dataclass
class Outcome:
    """What came of it. commits: between the first planned moment's coming and rest."""

    commits: int = 0
    states: list[str] = field(default_factory=list)
    # How often each thing was written: what must be once is written once.
    written: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def live(kill: tuple[int, str] | None = None, *, jump: float = 0.0) -> Outcome:
    """A VM is rebooted twice by a scheduler. kill: at this commit, before or after it. jump: of the clock, then."""
    run = ScheduledRun(ground("running"), seed=7)
    outcome = Outcome()
    run_loop(_live(run, kill, jump, outcome))
    return outcome


async def _live(run: ScheduledRun, kill: tuple[int, str] | None, jump: float, outcome: Outcome) -> None:
    await run.start()
    assert await run.quiet(), "the ground does not come to rest"
    await open_account(run)
    fields = {"interval": INTERVAL, "repeat_count": RUNS, "catch_up_window": 3600}
    scheduler = (await run.call("CreateScheduler", name="s", **fields)).inventory.uuid
    await run.call(
        "CreateSchedulerJob",
        name="j",
        type="reboot_vm",
        resource_uuids=[run.names["vm"]],
        scheduler_uuids=[scheduler],
        max_retries=0,
    )
    begun = len(run.lake.records)
    commits = 0

    def gate(moment: str) -> bool:
        nonlocal commits
        commits += moment == "before"
        dies = run.kills == 0 and kill == (commits, moment)
        if dies and jump:
            run.wrong_by += jump
        return dies

    run.gate = gate
    try:
        await run.ran(RUNS)
    except TimeoutError:
        outcome.wrong.append("the runs do not end")
    calm = await run.quiet()
    outcome.commits = commits
    if not calm:
        outcome.wrong.append("it does not come to rest")
    if kill is not None and run.kills != 1:
        outcome.wrong.append("the node was not killed")
    outcome.states = [o.state.value for o in run.occurrences]
    outcome.written = told(run.lake.records[begun:])
    outcome.wrong += violations(run, calm=False, lossy=True)
    made = run.lake.fold.find(scheduler)
    assert isinstance(made, Scheduler)
    clock = run.lake.fold.companion(SchedulerClock, scheduler)
    if (made.state.value, clock.fired_count) != ("Completed", RUNS):
        outcome.wrong.append(f"the scheduler is {made.state.value} after {clock.fired_count} runs")
    run.halt()


def told(records: list[Any]) -> Counter[str]:
    """What of an occurrence must be written once for each."""
    topics = ("Created", "Started", "Accepted", "TargetEnded", "Ended")
    found = Counter(r.topic for r in records if r.topic in {f"scheduler_occurrence.{t}" for t in topics})
    found["reboots"] = sum(r.topic == "job.Created" and b'"reboot_vm_instance"' in r.state for r in records)
    return found


def together(runs: int = 5) -> Outcome:
    """Two nodes that both see to everything, on one log: what they do is done once."""
    run = ScheduledRun(ground("empty"), seed=7)
    outcome = Outcome()
    run_loop(_together(run, runs, outcome))
    return outcome


async def _together(run: ScheduledRun, runs: int, outcome: Outcome) -> None:
    await run.start()
    await open_account(run)
    fields = {"interval": INTERVAL, "repeat_count": runs, "catch_up_window": 3600}
    scheduler = (await run.call("CreateScheduler", name="s", **fields)).inventory.uuid
    order = {"action": "UpdateZone", "arguments": '{"description": "once"}', "scheduler_uuids": [scheduler]}
    begun = len(run.lake.records)
    await run.call("CreateSchedulerJob", name="j", resource_uuids=[run.names["zone"]], **order)
    await run.start_second()
    await run.ran(runs)
    outcome.states = [o.state.value for o in run.occurrences]
    outcome.written = told(run.lake.records[begun:])
    run.halt()
    assert run.second is not None
    run.second.die()
