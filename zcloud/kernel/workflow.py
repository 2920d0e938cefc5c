"""Workflows: tables of steps, each with its undo. A released version is never edited, running jobs finish on theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from zcloud.kernel.job import Job, JobQueue, JobState
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit

NODE = "node"


@dataclass(frozen=True)
class Task:
    """What an agent is to do. target: "node" for the node's own agent, else the host's uuid.

    args: a protobuf message. resource_uuid: what tasks are serialised and fenced by; the job's resource by default.
    """

    target: str
    args: Any
    resource_uuid: str = ""


@dataclass(frozen=True)
class SubJob:
    """Another workflow as a step: it runs as a job of its own."""

    workflow: str
    resource: Resource
    args: dict[str, Any] = field(default_factory=dict)


Make = Callable[[Unit, Job], Awaitable[Task | SubJob | None]]
Take = Callable[[Unit, Job, Any], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """One step. do and undo say what to send (None: nothing is left to do) and change nothing else.

    done and undone take the result into aggregates, in the same append that records the report.
    timeout: seconds until no report means unknown. repeat: one thing after another, until do gives None; what is
    done must show in what do looks at. tolerant: with mode=Enforcing in the job's arguments, a failure is recorded
    and passed over. forgive: which of "do" and "undo" may fail in any case, recorded and passed over.
    out_of_reach: reasons for which a failed undo is passed over: what can't be reached is of no harm there.
    """

    name: str
    do: Make
    done: Take | None = None
    undo: Make | None = None
    undone: Take | None = None
    timeout: int = 600
    repeat: bool = False
    tolerant: bool = False
    forgive: tuple[str, ...] = ()
    out_of_reach: tuple[str, ...] = ()


class Workflow:
    """A kind of job: class StartVmInstance(Workflow, version=1), named start_vm_instance in the log."""

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    title: ClassVar[str] = ""
    table: ClassVar[tuple[Step, ...]] = ()
    # Whether it is for having the resource gone.
    removes: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str, version: int = 1, title: str = "", **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.name, cls.version = name, version
        cls.title = title or name.replace("_", " ")
        if (name, version) in _workflows:
            raise TypeError(f"two workflows are named {name} version {version}")
        _workflows[name, version] = cls()
        _newest[name] = max(version, _newest.get(name, 0))

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        """The table; a workflow whose steps depend on the job's arguments overrides it, deterministically."""
        del args
        return self.table

    async def reached(self, unit: Unit, job: Job) -> bool:
        """Whether its end was reached while it waited for its turn: two asked for the same deletion.

        What a deletion's children were to do for it (root) need not be done for one that is gone.
        """
        return (self.removes or "root" in job.args) and await unit.find(Resource, job.resource_uuid) is None

    async def begin(self, unit: Unit, job: Job) -> None:
        """The job's turn has come: say so on the resource. May refuse."""

    async def succeed(self, unit: Unit, job: Job) -> None:
        """All steps are done."""

    async def fail(self, unit: Unit, job: Job) -> None:
        """Everything was undone."""


_workflows: dict[tuple[str, int], Workflow] = {}
_newest: dict[str, int] = {}


def workflow(name: str, version: int = 0) -> Workflow:
    """A workflow by name; the newest version unless one is given."""
    return _workflows[name, version or _newest[name]]


def workflows() -> dict[tuple[str, int], Workflow]:
    """All there are."""
    return dict(_workflows)


async def submit(
    unit: Unit, name: str, resource: Resource, args: dict[str, Any] | None = None, parent: str = ""
) -> Job:
    """Put a job into the same append as the decision that needs it. It starts when no other works on the resource."""
    flow = workflow(name)
    args = args or {}
    job = await unit.new(Job, account_uuid=resource.account_uuid)
    job.trigger(
        Job.Created(
            name=f"{flow.title} {resource.name}".strip(),
            account_uuid=resource.account_uuid,
            zone_uuid=resource.zone_uuid,
            workflow=flow.name,
            workflow_version=flow.version,
            resource_kind=resource.kind,
            resource_uuid=resource.uuid,
            args=args,
            step_names=tuple(step.name for step in flow.steps(args)),
            rpc=unit.context.origin,
            requested_by=unit.context.actor,
            reason=unit.context.reason,
            correlation_id=unit.context.correlation_id,
            parent_job=parent,
        )
    )
    queue = await unit.companion(JobQueue, resource)
    queue.trigger(JobQueue.Entered(job_uuid=job.uuid))
    if not parent:
        unit.job_uuid = job.uuid
    if len(queue.jobs) == 1:
        await flow.begin(unit, job)
        job.trigger(Job.Started())
    return job


async def cancel(unit: Unit, job: Job) -> None:
    """Between steps; one that waits for its turn has nothing to undo and ends at once."""
    waits = job.state is JobState.WAITING
    job.cancel()
    if waits:
        job.trigger(Job.Finished(state=JobState.CANCELED, error="cancelled on request"))
        (await unit.companion_of(JobQueue, job.resource_uuid)).trigger(JobQueue.Left(job_uuid=job.uuid))
