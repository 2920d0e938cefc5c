"""Workflows of toys, an agent with a journal that acts in a world of names, and a runner between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from tests.kernel.toy import OWNER, Kernel, Thing, running
from zcloud.kernel.cloud import Decision
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.job import ENDED, Job
from zcloud.kernel.runner import Report, Runner, Sending
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Task, Workflow, cancel, submit


def step(name: str, *, keep: bool = False, **options: Any) -> Step:
    """A step that puts its name into the world and into the thing, and its undo, which takes both out again."""

    async def do(unit: Unit, job: Job) -> Task | None:
        if job.args.get("nothing_to_do") == name:
            return None
        if job.args.get("refuse") == name:
            raise precondition(Reason.WRONG_STATE, f"{name} can't be done now")
        return Task("host", StringValue(value=f"do {name}"))

    async def done(unit: Unit, job: Job, result: Any) -> None:
        if job.args.get("refuse_report") == name:
            raise precondition(Reason.WRONG_STATE, f"the result of {name} does not fit")
        (await unit.get(Thing, job.resource_uuid)).fill(name)

    async def undo(unit: Unit, job: Job) -> Task | None:
        return Task("host", StringValue(value=f"undo {name}"))

    async def undone(unit: Unit, job: Job, result: Any) -> None:
        (await unit.get(Thing, job.resource_uuid)).empty(name)

    if keep:
        return Step(name, do, done, **options)
    return Step(name, do, done, undo, undone, **options)


class Build(Workflow, name="toy_build", version=1):
    """Three steps, each with its undo."""

    table = (step("a"), step("b"), step("c"))

    async def begin(self, unit: Unit, job: Job) -> None:
        if job.args.get("refuse") == "begin":
            raise precondition(Reason.WRONG_STATE, "its turn has come too late")

    async def fail(self, unit: Unit, job: Job) -> None:
        (await unit.get(Thing, job.resource_uuid)).fill("failed")


class Hasty(Workflow, name="toy_hasty", version=1):
    """Its second step has no time at all."""

    table = (step("a"), step("b", timeout=0), step("c"))


class Lenient(Workflow, name="toy_lenient", version=1):
    """Its second step may fail in mode Enforcing."""

    table = (step("a"), step("b", tolerant=True), step("c"))


class Buggy(Workflow, name="toy_buggy", version=1):
    """Ends in a mistake of the programmer's."""

    table = (step("a"),)

    async def succeed(self, unit: Unit, job: Job) -> None:
        if not job.steps[0].error:
            raise ZeroDivisionError("a mistake")


class Stepless(Workflow, name="toy_stepless", version=1):
    """Has nothing to do on any host, and is refused at its end."""

    table = ()

    async def succeed(self, unit: Unit, job: Job) -> None:
        raise precondition(Reason.WRONG_STATE, "what it was about is gone")


async def _next_item(unit: Unit, job: Job) -> Task | None:
    thing = await unit.get(Thing, job.resource_uuid)
    return Task("host", StringValue(value=f"take {thing.items[0]}")) if thing.items else None


async def _item_taken(unit: Unit, job: Job, result: Any) -> None:
    thing = await unit.get(Thing, job.resource_uuid)
    thing.empty(thing.items[0])


class Drain(Workflow, name="toy_drain", version=1):
    """Takes one thing after another, until there is none."""

    table = (Step("take", _next_item, _item_taken, repeat=True),)


async def _build_the_inner(unit: Unit, job: Job) -> SubJob:
    return SubJob("toy_build", await unit.get(Thing, job.args["inner"]), {"refuse": job.args.get("refuse", "")})


class Nested(Workflow, name="toy_nested", version=1):
    """Builds another thing as its second step."""

    table = (step("a"), Step("inner", _build_the_inner), step("c"))


async def _build_the_next(unit: Unit, job: Job) -> SubJob | None:
    for uuid in job.args["inner"]:
        thing = await unit.get(Thing, uuid)
        if not thing.items and uuid not in job.passed_over:
            refused = "a" if uuid == job.args["refused"] else ""
            return SubJob("toy_build", thing, {"refuse": refused})
    return None


class Row(Workflow, name="toy_row", version=1):
    """Builds one thing after another; with mode Enforcing, what fails is passed over."""

    table = (Step("each", _build_the_next, repeat=True, tolerant=True),)


class Agent:
    """A host's agent that acts once per task whatever is sent how often. silent: tasks that it never reports.

    fails: tasks that change nothing and say no. held: tasks that wait for go.
    """

    def __init__(self) -> None:
        self.world: list[str] = []
        self.acted: list[str] = []
        self.sent: list[Sending] = []
        self.aborted: list[str] = []
        self.journal: dict[str, Report] = {}
        self.fails: set[str] = set()
        self.silent: set[str] = set()
        self.held: set[str] = set()
        self.runner: Runner | None = None
        self.connected = True
        self.on_send: Callable[[Sending], None] = lambda sending: None
        self._tasks: set[asyncio.Task[None]] = set()

    def reaches(self, target: str) -> bool:
        return self.connected

    def send(self, sending: Sending) -> None:
        self.sent.append(sending)
        self.on_send(sending)
        text = sending.args.value
        if sending.task_uuid not in self.journal:
            if text in self.held:
                return
            self.journal[sending.task_uuid] = self.act(text)
        if text not in self.silent:
            self.report(sending.task_uuid)

    def act(self, text: str) -> Report:
        self.acted.append(text)
        if text in self.fails:
            return Report(False, None, "BROKEN", f"{text} failed")
        verb, _, name = text.partition(" ")
        if verb == "do":
            self.world.append(name)
        elif name in self.world:
            self.world.remove(name)
        return Report(True, StringValue(value=text))

    def report(self, task_uuid: str) -> None:
        """As over a network: some other time, to whoever drives jobs then."""
        assert self.runner is not None
        task = asyncio.get_running_loop().create_task(self._report(self.runner, task_uuid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, runner: Runner, task_uuid: str) -> None:
        with contextlib.suppress(Exception):  # the node that it is for may be dying
            target = next(s.target for s in self.sent if s.task_uuid == task_uuid)
            await runner.on_report(task_uuid, self.journal[task_uuid], target)

    def release(self, text: str) -> None:
        """Let what was held happen."""
        self.held.discard(text)
        for sending in {s.task_uuid: s for s in self.sent if s.args.value == text}.values():
            if sending.task_uuid in self.journal:
                continue
            self.journal[sending.task_uuid] = self.act(text)
            self.report(sending.task_uuid)

    def abort(self, target: str, task_uuid: str) -> None:
        self.aborted.append(task_uuid)


class Works:
    """A kernel whose jobs are driven."""

    def __init__(self, kernel: Kernel, agent: Agent) -> None:
        self.kernel = kernel
        self.agent = agent
        self.runner = agent.runner = Runner(kernel.cloud, agent, self._active)

    async def _active(self) -> list[str]:
        jobs = [r.resource_uuid for r in self.kernel.recorder.read_all(0, 10_000) if r.topic == "job.Created"]
        return [j for j in jobs if (await self.job(j)).state not in ENDED]

    async def job(self, uuid: str) -> Job:
        found = await self.kernel.cloud.load(uuid)
        assert isinstance(found, Job)
        return found

    async def submit(self, name: str, resource: str, args: dict[str, Any] | None = None) -> str:
        async def body(unit: Unit) -> str:
            return (await submit(unit, name, await unit.get(Thing, resource), args)).uuid

        return str((await self.kernel.cloud.decide(Context(OWNER, "Rpc", "", "because"), body)).value)

    async def tell(self, uuid: str, verb: str) -> Decision:
        """cancel, retry or skip."""

        async def body(unit: Unit) -> None:
            job = await unit.get(Job, uuid)
            if verb == "cancel":
                await cancel(unit, job)
            else:
                getattr(job, verb)()

        return await self.kernel.cloud.decide(Context(OWNER, verb), body)

    async def end(self, uuid: str) -> Job:
        assert await self.runner.ended(uuid, 60), await self.job(uuid)
        return await self.job(uuid)

    async def reaches(self, uuid: str, condition: Callable[[Job], bool]) -> Job:
        async with asyncio.timeout(60):
            while not condition(await self.job(uuid)):  # noqa: ASYNC110 - the log has no event to wait for
                await asyncio.sleep(0.002)
        return await self.job(uuid)


@contextlib.asynccontextmanager
async def working(directory: Path, agent: Agent | None = None, **options: Any) -> AsyncIterator[Works]:
    """A kernel on the directory's log with a runner."""
    async with running(directory, **options) as kernel:
        made = Works(kernel, agent or Agent())
        await made.runner.start()
        try:
            yield made
        finally:
            await made.runner.close()
