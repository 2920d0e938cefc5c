"""The agent dies at each boundary and comes back: one effect, one outcome, no lost report."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.runtime.dispatch import FAILPOINTS
from agents.runtime.task import TaskError, Work
from tests.agents.runtime.workbench import Agent, Crash, Start, start_task, until
from zcloud.v1.vm_instance_task_pb2 import StartVmResult, StartVmTask

pytestmark = pytest.mark.faults


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path / "journal.db")


async def die(agent: Agent, point: str) -> None:
    agent.boot()
    agent.die_at = point
    with pytest.raises(Crash):
        await agent.do(start_task())
    assert agent.reports == []
    await agent.dispatcher.close()


@pytest.mark.parametrize(
    ("point", "effects", "probes", "resent"),
    [
        ("task.before_begun", 0, 0, False),
        ("task.after_begun", 0, 1, False),
        ("task.after_effect", 1, 1, False),
        ("task.before_report", 1, 0, True),
    ],
)
def test_died_once(agent: Agent, point: str, effects: int, probes: int, resent: bool) -> None:
    async def scenario() -> None:
        await die(agent, point)
        assert len(agent.start.starts) == effects
        agent.boot()
        assert [r.task_uuid for r in agent.dispatcher.unacknowledged()] == (["task-1"] if resent else [])
        [report] = await agent.do(start_task())
        assert report.succeeded
        assert agent.start.starts == ["vm-1"], "acted once over both lives"
        assert len(agent.start.probes) == probes
        assert agent.dispatcher.unacknowledged() == [report]
        assert await agent.do(start_task()) == [report]

    asyncio.run(scenario())


@pytest.mark.parametrize("first", FAILPOINTS)
@pytest.mark.parametrize("second", FAILPOINTS)
def test_died_twice(agent: Agent, first: str, second: str) -> None:
    async def scenario() -> None:
        await die(agent, first)
        agent.boot()
        agent.die_at = second
        agent.dispatcher.receive(start_task())
        try:
            await agent.dispatcher.idle()
        # The second boundary may lie behind the first life's end: then this life ends the task.
        except Crash:
            await agent.dispatcher.close()
            agent.boot()
            agent.dispatcher.receive(start_task())
            await agent.dispatcher.idle()
        assert agent.start.starts == ["vm-1"]
        assert len({r.SerializeToString() for r in agent.reports}) == 1
        assert agent.reports[-1].succeeded

    asyncio.run(scenario())


def test_what_cannot_be_probed_is_run_again(agent: Agent) -> None:
    async def scenario() -> None:
        agent.start.can_probe = False
        await die(agent, "task.after_effect")
        agent.boot()
        [report] = await agent.do(start_task())
        assert report.succeeded
        assert agent.start.starts == ["vm-1", "vm-1"], "which is why run() has to be idempotent"

    asyncio.run(scenario())


def test_a_begun_task_that_was_overtaken_is_refused_and_not_touched(agent: Agent) -> None:
    async def scenario() -> None:
        await die(agent, "task.after_begun")
        agent.boot()
        [later] = await agent.do(start_task(2, fence=2))
        assert later.succeeded
        [report] = await agent.do(start_task(1, fence=1))
        assert report.error_reason == "STALE_FENCE"
        assert (agent.start.starts, agent.start.probes) == (["vm-1"], [])

    asyncio.run(scenario())


def test_one_broken_lane_leaves_the_others_alone_and_its_task_can_be_sent_again(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.die_at = "task.after_effect"
        agent.dispatcher.receive(start_task(1))
        agent.dispatcher.receive(start_task(2, resource="vm-2"))
        with pytest.raises(Crash):
            await agent.dispatcher.idle()
        assert [r.task_uuid for r in agent.reports] == ["task-2"]
        agent.dispatcher.receive(start_task(1))
        await until(lambda: len(agent.reports) == 2)
        assert agent.start.starts == ["vm-1", "vm-2"]
        assert agent.start.probes == ["vm-1"]

    asyncio.run(scenario())


def test_an_abort_of_what_an_earlier_life_finished_tells_the_truth(agent: Agent) -> None:
    async def scenario() -> None:
        await die(agent, "task.after_effect")
        agent.boot()
        agent.dispatcher.receive(start_task())
        agent.dispatcher.abort("task-1")
        await agent.dispatcher.idle()
        assert agent.reports[0].succeeded

    asyncio.run(scenario())


def test_a_stop_leaves_running_and_waiting_tasks_for_the_next_life(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.gate = asyncio.Event()
        agent.dispatcher.receive(start_task(1, fence=1))
        agent.dispatcher.receive(start_task(2, fence=2))
        await until(lambda: agent.start.running == 1)
        await agent.dispatcher.close()
        agent.dispatcher.receive(start_task(3, fence=3))
        assert (agent.reports, agent.start.running) == ([], 0)
        agent.start.gate = None
        agent.boot()
        assert agent.journal.find("task-1").report is None
        assert agent.journal.find("task-2") is None
        assert agent.journal.find("task-3") is None
        reports = await agent.do(start_task(1, fence=1), start_task(2, fence=2))
        assert [r.succeeded for r in reports] == [True, True]
        assert agent.start.probes == ["vm-1"]

    asyncio.run(scenario())


class Stubborn(Start, task=Start.task, result=Start.result):
    """Turns the agent's stop into an outcome of its own."""

    outcome: StartVmResult | TaskError = StartVmResult(state="Running")

    async def run(self, args: StartVmTask, work: Work) -> StartVmResult:
        self.running += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if isinstance(self.outcome, TaskError):
                raise self.outcome from None
        return self.outcome  # type: ignore[return-value]


@pytest.mark.parametrize("outcome", [StartVmResult(state="Running"), TaskError("FAILED", "qemu-img was killed")])
def test_a_failure_caused_by_the_stop_is_no_outcome_but_a_success_is(
    tmp_path: Path, outcome: StartVmResult | TaskError
) -> None:
    async def scenario() -> None:
        handler = Stubborn()
        handler.outcome = outcome
        agent = Agent(tmp_path / "journal.db", handler)
        agent.boot()
        agent.dispatcher.receive(start_task(1, fence=1))
        agent.dispatcher.receive(start_task(2, fence=2))
        await until(lambda: handler.running == 1)
        await agent.dispatcher.close()
        report = agent.journal.find("task-1").report
        assert report.succeeded if isinstance(outcome, StartVmResult) else report is None
        assert handler.running == 1, "the next in the queue was not begun"

    asyncio.run(scenario())


def test_a_failure_caused_by_the_timeout_is_reported_as_the_timeout(tmp_path: Path) -> None:
    async def scenario() -> None:
        handler = Stubborn()
        handler.outcome = TaskError("FAILED", "qemu-img was killed")
        agent = Agent(tmp_path / "journal.db", handler)
        agent.boot()
        [report] = await agent.do(start_task(timeout=1))
        assert report.error_reason == "TIMEOUT"

    asyncio.run(scenario())
