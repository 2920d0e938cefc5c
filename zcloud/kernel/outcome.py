"""What a report makes of the step that it is about, and of its job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Code, Refused
from zcloud.kernel.job import Job, JobQueue, JobState
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Task, Workflow, workflow

# What comes of taking a result that makes no sense; all else is not the agent's doing.
NONSENSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


def step_of(job: Job) -> Step:
    """The step that the job is at."""
    flow: Workflow = workflow(job.workflow, job.workflow_version)
    return flow.steps(job.args)[job.index]


def _may_fail(step: Step, job: Job, reason: str) -> bool:
    if job.undoing:
        return "undo" in step.forgive or reason in step.out_of_reach
    return "do" in step.forgive or (step.tolerant and job.args.get("mode") == "Enforcing")


def fail_step(job: Job, reason: str, error: str) -> None:
    """What a step that failed makes of its job: passed over, stuck, or undone."""
    index = min(max(job.index, 0), len(job.steps) - 1)
    if 0 <= job.index < len(job.steps) and _may_fail(step_of(job), job, reason):
        if job.target.startswith("job:") and not job.undoing and step_of(job).repeat:
            job.trigger(Job.PassedOver(index=index, subject=job.subject, reason=reason, error=error))
            return
        job.trigger(Job.StepSkipped(index=index, undo=job.undoing, reason=f"passed over ({reason}): {error}"))
    elif job.undoing:
        job.trigger(Job.GotStuck(index=index, reason=reason, error=error))
    else:
        job.trigger(Job.StepFailed(index=index, reason=reason, error=error))


def facts(result: Any) -> dict[str, Any]:
    """The plain fields of a result message, for the log."""
    if result is None:
        return {}
    return {field.name: value for field, value in result.ListFields() if isinstance(value, (str, int, bool, float))}


def refusal_of(job_uuid: str, refused: Refused) -> Callable[[Unit], Awaitable[None]]:
    """The next step can't even be made: it failed, and is undone like one that ran."""

    async def fail(unit: Unit) -> None:
        fail_step(await unit.get(Job, job_uuid), refused.reason.value, refused.message)

    return fail


async def intended(unit: Unit, job: Job) -> Task | SubJob | None:
    """What the step that the job is at sends, or sends to undo it."""
    step = step_of(job)
    make = step.undo if job.undoing else step.do
    return await make(unit, job) if make is not None else None


def not_sent(job: Job) -> Callable[[Unit], Awaitable[bool]]:
    """Another job has seen to it since the intent was recorded (two VMs need the same image), or it can't be made.

    That is looked at in the decision which says so: what was seen before may be what was being written then and never
    was, since another node was quicker. False when there is something to send after all.
    """

    async def conclude(unit: Unit) -> bool:
        now = await unit.get(Job, job.uuid)
        if now.task_uuid != job.task_uuid:
            return True
        try:
            if isinstance(await intended(unit, now), Task):
                return False
        except Refused as refused:
            if refused.code in (Code.ABORTED, Code.UNAVAILABLE):
                raise
            # Something has changed since the intent: what an earlier sending did is unknown, and is undone.
            fail_step(now, refused.reason.value, refused.message)
            return True
        reason = "nothing was left to undo" if now.undoing else ""
        now.trigger(Job.StepSkipped(index=now.index, undo=now.undoing, reason=reason))
        return True

    return conclude


async def give_up(cloud: Cloud, context: Callable[[str], Awaitable[Context]], job_uuid: str) -> None:
    """A job that nobody drives any more must say so; whose it is by then looks at it himself."""
    if cloud.leases.owns(job_uuid):
        await cloud.decide(await context(job_uuid), giving_up(job_uuid), fenced=job_uuid)


def giving_up(job_uuid: str) -> Callable[[Unit], Awaitable[None]]:
    """A programming error in a workflow: the job rests visibly, for an operator."""

    async def stick(unit: Unit) -> None:
        job = await unit.get(Job, job_uuid)
        if not job.ended:
            index = min(max(job.index, 0), len(job.steps) - 1)
            job.trigger(Job.GotStuck(index=index, reason="BUG", error="the workflow failed; see the node's log"))

    return stick


async def finish(unit: Unit, job: Job, state: JobState) -> None:
    """The end of a job, and the begin of the one that waits for the same resource."""
    job.trigger(Job.Finished(state=state, error="" if state is JobState.SUCCEEDED else job.error))
    resource = await unit.last(Resource, job.resource_uuid)
    if resource is None:
        return
    queue = await unit.companion(JobQueue, resource)
    queue.trigger(JobQueue.Left(job_uuid=job.uuid))
    while queue.jobs:
        following = await unit.get(Job, queue.jobs[0])
        flow = workflow(following.workflow, following.workflow_version)
        before = unit.savepoint()
        try:
            if await flow.reached(unit, following):
                following.trigger(Job.Finished(state=JobState.SUCCEEDED))
                queue.trigger(JobQueue.Left(job_uuid=following.uuid))
                continue
            await flow.begin(unit, following)
            following.trigger(Job.Started())
            return
        except Refused as refused:
            unit.roll_back(before)  # what it had begun to change when it refused
            following.trigger(Job.Finished(state=JobState.FAILED, error=refused.message))
            queue.trigger(JobQueue.Left(job_uuid=following.uuid))
