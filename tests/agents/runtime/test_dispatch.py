"""Tasks act once, in order, and end in a report."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from agents.runtime.dispatch import Dispatcher
from agents.runtime.journal import Journal
from agents.runtime.task import Handler, TaskError, Work
from tests.agents.runtime.workbench import Agent, Read, Start, start_task, until
from zcloud.v1.agent_pb2 import ConnectRequest, Task
from zcloud.v1.host_task_pb2 import RemoveKvmAgentResult, RemoveKvmAgentTask
from zcloud.v1.vm_instance_task_pb2 import StartVmResult


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path / "journal.db")


def test_a_task_ends_in_a_report_with_its_result(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        [report] = await agent.do(start_task())
        result = StartVmResult()
        assert report.result.Unpack(result)
        assert (report.task_uuid, report.succeeded, result.state) == ("task-1", True, "Running")
        assert agent.dispatcher.unacknowledged() == [report]
        agent.dispatcher.recorded("task-1")
        assert agent.dispatcher.unacknowledged() == []

    asyncio.run(scenario())


def test_a_task_sent_again_acts_once_and_is_answered_once_more(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.gate = asyncio.Event()
        for _ in range(3):
            agent.dispatcher.receive(start_task())
        await until(lambda: agent.start.running == 1)
        agent.dispatcher.receive(start_task())
        agent.start.gate.set()
        await agent.dispatcher.idle()
        assert len(agent.reports) == 1, "while it runs, a duplicate is not answered"
        first = agent.reports[0]
        assert await agent.do(start_task()) == [first]
        agent.dispatcher.recorded("task-1")
        assert await agent.do(start_task()) == [first], "also after the acknowledgement"
        assert agent.start.starts == ["vm-1"]

    asyncio.run(scenario())


def test_a_failed_task_sent_again_is_not_tried_again(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.error = TaskError("NO_SPACE", "disk full")
        [first] = await agent.do(start_task())
        agent.start.error = None
        assert await agent.do(start_task()) == [first]
        assert (first.succeeded, first.error_reason, first.error) == (False, "NO_SPACE", "disk full")
        assert agent.start.starts == []

    asyncio.run(scenario())


def test_one_resource_in_order_and_several_side_by_side(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.gate = asyncio.Event()
        for number in range(1, 5):
            agent.dispatcher.receive(start_task(number, fence=number))
        agent.dispatcher.receive(start_task(9, resource="vm-2"))
        await until(lambda: agent.start.running == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert agent.start.most_running == 2, "one of each resource"
        agent.start.gate.set()
        await agent.dispatcher.idle()
        ours = [r.task_uuid for r in agent.reports if r.task_uuid != "task-9"]
        assert ours == ["task-1", "task-2", "task-3", "task-4"]

    asyncio.run(scenario())


def test_a_smaller_fence_is_refused_and_an_equal_one_is_not(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        assert (await agent.do(start_task(1, fence=7)))[0].succeeded
        [stale] = await agent.do(start_task(2, fence=6))
        assert (stale.succeeded, stale.error_reason) == (False, "STALE_FENCE")
        assert "vm-1" in stale.error
        assert "7" in stale.error
        assert (await agent.do(start_task(3, fence=7)))[0].succeeded
        assert (await agent.do(start_task(4, fence=1, resource="vm-2")))[0].succeeded, "of another resource"
        agent.boot()
        assert (await agent.do(start_task(5, fence=6)))[0].error_reason == "STALE_FENCE", "also after a restart"
        assert await agent.do(start_task(2, fence=6)) == [stale], "the refusal is the task's outcome"
        assert agent.start.starts == ["vm-1", "vm-1", "vm-2"]

    asyncio.run(scenario())


def test_a_fence_counts_from_its_arrival_and_a_refusal_waits_for_nobody(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.gate = asyncio.Event()
        agent.dispatcher.receive(start_task(1, fence=5))
        agent.dispatcher.receive(start_task(2, fence=7))
        agent.dispatcher.receive(start_task(3, fence=6))
        await until(lambda: agent.reports)
        assert [(r.task_uuid, r.error_reason) for r in agent.reports] == [("task-3", "STALE_FENCE")]
        agent.start.gate.set()
        await agent.dispatcher.idle()
        assert [r.task_uuid for r in agent.reports if r.succeeded] == ["task-1", "task-2"]

    asyncio.run(scenario())


def test_a_done_task_is_answered_even_when_its_fence_is_old_by_now(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        [first] = await agent.do(start_task(1, fence=1))
        await agent.do(start_task(2, fence=2))
        assert await agent.do(start_task(1, fence=1)) == [first]

    asyncio.run(scenario())


def test_unknown_and_unreadable_tasks_are_reported_and_journalled(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        unknown = Task(task_uuid="task-1", fence=1, resource_uuid="vm-1")
        unknown.args.type_url = "type.googleapis.com/zcloud.v1.MigrateVmTask"
        unreadable = start_task(2)
        unreadable.args.value = b"\xff\xff\xff"
        empty = Task(task_uuid="task-3", fence=1, resource_uuid="vm-1")
        reports = {r.task_uuid: r for r in await agent.do(unknown, unreadable, empty)}
        assert reports["task-1"].error_reason == "UNKNOWN_TASK"
        assert "zcloud.v1.MigrateVmTask" in reports["task-1"].error
        assert reports["task-2"].error_reason == "INVALID"
        assert reports["task-3"].error_reason == "UNKNOWN_TASK"
        assert len(agent.dispatcher.unacknowledged()) == 3
        agent.dispatcher.receive(Task())
        await agent.dispatcher.idle()
        assert len(agent.reports) == 3, "without a uuid there is nothing to answer"

    asyncio.run(scenario())


def test_a_task_that_takes_too_long_is_cancelled_and_its_lane_goes_on(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.gate = asyncio.Event()
        agent.dispatcher.receive(start_task(1, timeout=1))
        await until(lambda: agent.reports)
        assert (agent.reports[0].error_reason, agent.start.running) == ("TIMEOUT", 0)
        assert "1 s" in agent.reports[0].error
        agent.start.gate = None
        assert (await agent.do(start_task(2)))[0].succeeded

    asyncio.run(scenario())


def test_a_timeout_of_the_handlers_own_is_a_failure_not_the_tasks_timeout(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.error = TimeoutError("no answer from 10.0.0.9")
        [report] = await agent.do(start_task(timeout=60))
        assert (report.error_reason, report.error) == ("FAILED", "no answer from 10.0.0.9")

    asyncio.run(scenario())


def test_abort_reaches_the_running_task_and_the_one_that_waits(agent: Agent) -> None:
    async def scenario() -> None:
        agent.boot()
        agent.start.gate = asyncio.Event()
        for number in (1, 2, 3):
            agent.dispatcher.receive(start_task(number, fence=number))
        await until(lambda: agent.start.running == 1)
        agent.dispatcher.abort("task-1")
        agent.dispatcher.abort("task-2")
        agent.dispatcher.abort("nobody")
        agent.start.gate.set()
        await agent.dispatcher.idle()
        assert [(r.task_uuid, r.error_reason) for r in agent.reports] == [
            ("task-1", "ABORTED"),
            ("task-2", "ABORTED"),
            ("task-3", ""),
        ]
        assert agent.start.starts == ["vm-1"], "only the third"

    asyncio.run(scenario())


class Remove(Handler[RemoveKvmAgentTask, RemoveKvmAgentResult], task=RemoveKvmAgentTask, result=RemoveKvmAgentResult):
    """Fails with its secrets in the text, as careless libraries do."""

    async def run(self, args: RemoveKvmAgentTask, work: Work) -> RemoveKvmAgentResult:
        work.progress(1, f"trying {args.target.password}")
        raise ConnectionError(
            f"root:{args.target.password}@{args.target.hostname} refused key {args.target.private_key}"
        )


def test_secrets_of_the_arguments_reach_neither_report_nor_log_nor_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        agent = Agent(tmp_path / "journal.db", Remove())
        agent.boot()
        task = Task(task_uuid="task-1", fence=1, resource_uuid="host-1")
        target = {"hostname": "10.0.0.9", "password": "canary", "private_key": "canary-long"}
        task.args.Pack(RemoveKvmAgentTask(target=target))
        [report] = await agent.do(task)
        assert report.error_reason == "FAILED"
        assert report.error == "root:[secret]@10.0.0.9 refused key [secret]"
        assert "canary" not in caplog.text
        assert "10.0.0.9 refused" in caplog.text
        assert "canary" not in str(agent.sent)

    asyncio.run(scenario())
    for file in tmp_path.iterdir():
        assert b"canary" not in file.read_bytes()


class Wrong(Start, task=Start.task, result=Start.result):
    """Forgets to return its result."""

    async def run(self, args: object, work: Work) -> None:  # type: ignore[override]
        return None


def test_a_handler_without_a_result_fails_its_task(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = Agent(tmp_path / "journal.db", Wrong())
        agent.boot()
        [report] = await agent.do(start_task())
        assert report.error_reason == "FAILED"
        assert "StartVmTask" in report.error

    asyncio.run(scenario())


def test_two_handlers_of_one_task_are_refused_at_start() -> None:
    with pytest.raises(ValueError, match=r"zcloud\.v1\.ReadVmTask"):
        Dispatcher(Journal(), [Read(), Read()], lambda message: None)


class Chatty(Start, task=Start.task, result=Start.result):
    """Says much in a short time."""

    async def run(self, args: object, work: Work) -> StartVmResult:  # type: ignore[override]
        for percent in range(101):
            await asyncio.to_thread(work.progress, percent, "copying")
        assert self.gate is not None
        await self.gate.wait()
        return StartVmResult()


def test_progress_is_thinned_out_and_ends_with_the_report(tmp_path: Path) -> None:
    async def scenario(interval: float, expected: set[int], most: int = 2) -> None:
        handler = Chatty()
        handler.gate = asyncio.Event()
        agent = Agent(tmp_path / f"{interval}.db", handler)
        agent.boot(progress_interval=interval)
        agent.dispatcher.receive(start_task())
        await until(lambda: {m.progress.percent for m in agent.sent} >= expected)
        handler.gate.set()
        await agent.dispatcher.idle()
        said = [m.progress.percent for m in agent.sent if m.HasField("progress")]
        assert expected <= set(said)
        assert len(said) == 101 if not interval else len(said) <= most
        assert agent.sent[-1].HasField("report")

    asyncio.run(scenario(0, set(range(101))))
    asyncio.run(scenario(3600, {0}))
    # The clock stands still, so only the timer lets the second message out: the newest there is.
    # A machine on which all of it takes longer tells some of what is between.
    asyncio.run(scenario(0.7, {0, 100}, 100))


def test_a_journal_that_cannot_be_written_delays_the_task_and_says_so(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(method: str) -> None:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await asyncio.sleep(0)

        agent.boot(sleep=sleep, progress_interval=0)
        real = getattr(Journal, method)

        def full(journal: Journal, *args: object) -> None:
            if len(waits) < 12:
                raise sqlite3.OperationalError("database or disk is full")
            real(journal, *args)

        monkeypatch.setattr(Journal, method, full)
        [report] = await agent.do(start_task(1 if method == "begin" else 2))
        assert report.succeeded
        assert waits == sorted(waits)
        assert max(waits) == 10.0, "bounded"
        assert "disk is full" in agent.sent[0].progress.detail

    asyncio.run(scenario("begin"))
    monkeypatch.undo()
    agent.sent.clear()
    asyncio.run(scenario("finish"))
    assert agent.start.starts == ["vm-1", "vm-1"], "each once"


def test_a_sink_that_fails_loses_no_report(tmp_path: Path) -> None:
    def broken(message: ConnectRequest) -> None:
        raise ConnectionError("gone")

    async def scenario() -> None:
        dispatcher = Dispatcher(Journal(), [Start()], broken)
        dispatcher.receive(start_task())
        await dispatcher.idle()
        assert [r.task_uuid for r in dispatcher.unacknowledged()] == ["task-1"]

    asyncio.run(scenario())
