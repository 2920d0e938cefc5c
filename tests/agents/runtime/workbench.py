"""What the runtime's tests share: a handler whose effects are counted, and a dispatcher that can die and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agents.runtime.dispatch import Dispatcher
from agents.runtime.journal import Journal
from agents.runtime.task import Handler, Work
from zcloud.v1.agent_pb2 import ConnectRequest, Task, TaskReport
from zcloud.v1.vm_instance_task_pb2 import ReadVmResult, ReadVmTask, StartVmResult, StartVmTask


class Crash(BaseException):
    """The agent dies here; nothing in the runtime may catch it and go on."""


class Clock:
    """Time that moves when told."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Start(Handler[StartVmTask, StartVmResult], task=StartVmTask, result=StartVmResult):
    """Starts VMs in a world that outlives the agent: each start is counted."""

    def __init__(self) -> None:
        self.starts: list[str] = []
        self.probes: list[str] = []
        self.running = 0
        self.most_running = 0
        self.gate: asyncio.Event | None = None
        self.error: BaseException | None = None
        self.can_probe = True

    async def run(self, args: StartVmTask, work: Work) -> StartVmResult:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            work.check()
            if self.error is not None:
                raise self.error
            self.starts.append(args.spec.vm_instance_uuid)
            return StartVmResult(state="Running")
        finally:
            self.running -= 1

    async def probe(self, args: StartVmTask) -> StartVmResult | None:
        self.probes.append(args.spec.vm_instance_uuid)
        there = self.can_probe and args.spec.vm_instance_uuid in self.starts
        return StartVmResult(state="Running") if there else None


class Read(Handler[ReadVmTask, ReadVmResult], task=ReadVmTask, result=ReadVmResult):
    """Answers at once."""

    async def run(self, args: ReadVmTask, work: Work) -> ReadVmResult:
        return ReadVmResult(state="Running")


def start_task(number: int = 1, fence: int = 1, resource: str = "vm-1", timeout: int = 0) -> Task:
    """A task to start the resource, with uuid task-<number>."""
    task = Task(task_uuid=f"task-{number}", fence=fence, resource_uuid=resource, timeout_seconds=timeout)
    task.args.Pack(StartVmTask(spec={"vm_instance_uuid": resource}))
    return task


class Agent:
    """One agent whose journal and world survive its crashes."""

    def __init__(self, path: Path, *handlers: Handler[Any, Any]) -> None:
        self.path = path
        self.start = Start()
        self.handlers: Iterable[Handler[Any, Any]] = handlers or (self.start,)
        self.sent: list[ConnectRequest] = []
        self.clock = Clock()
        self.die_at = ""
        self.journal: Journal | None = None
        self.dispatcher: Dispatcher

    def _failpoint(self, name: str) -> None:
        if name == self.die_at:
            self.die_at = ""
            raise Crash(name)

    def boot(self, **options: Any) -> Dispatcher:
        """Start, or start again on the same journal; nothing of the earlier life is left but disk and world."""
        if self.journal is not None:
            self.journal.close()
        self.journal = Journal(self.path, clock=self.clock)
        self.dispatcher = Dispatcher(
            self.journal, self.handlers, self.sent.append, clock=self.clock, failpoint=self._failpoint, **options
        )
        return self.dispatcher

    @property
    def reports(self) -> list[TaskReport]:
        """Reports that were sent, in order."""
        return [message.report for message in self.sent if message.HasField("report")]

    async def do(self, *tasks: Task) -> list[TaskReport]:
        """Send tasks, wait until all are done, and give the reports that came of it."""
        before = len(self.reports)
        for task in tasks:
            self.dispatcher.receive(task)
        await self.dispatcher.idle()
        return self.reports[before:]


async def until(condition: Any) -> None:
    """Let the loop turn until the condition holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for is not ours to signal
        await asyncio.sleep(0.001)
