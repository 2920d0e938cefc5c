"""What a job does next: the intent of a step, which task goes where, by when; written before anything is sent."""

from __future__ import annotations

from zcloud.kernel.clock import SECOND
from zcloud.kernel.job import Job, JobState, StepState
from zcloud.kernel.outcome import finish
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, submit, workflow

# The least that an undo is given: past its deadline an operator has to see to it.
UNDO_SECONDS = 60


async def intend(unit: Unit, job: Job, step: Step) -> None:
    """Make the next task, and write down that it will be sent; or that there is nothing to do."""
    make = step.undo if job.undoing else step.do
    task = await make(unit, job) if make is not None else None
    if task is None:
        job.trigger(Job.StepSkipped(index=job.index, undo=job.undoing))
        return
    seconds = max(step.timeout, UNDO_SECONDS) if job.undoing else step.timeout
    deadline = unit.now + seconds * SECOND
    if isinstance(task, SubJob):
        child = await submit(unit, task.workflow, task.resource, task.args, parent=job.uuid)
        intent = (child.uuid, task.workflow, f"job:{child.uuid}", task.resource.uuid)
    else:
        intent = (unit.cloud.ids.new(), type(task.args).__name__, task.target, "")
    job.trigger(
        Job.StepDispatched(
            index=job.index,
            undo=job.undoing,
            task_uuid=intent[0],
            task=intent[1],
            target=intent[2],
            subject=intent[3],
            deadline=deadline,
        )
    )


async def advance(job_uuid: str, unit: Unit) -> None:
    """Skip what has nothing to do, and record the next intent, or the end."""
    job = await unit.get(Job, job_uuid)
    flow = workflow(job.workflow, job.workflow_version)
    steps = flow.steps(job.args)
    while not job.task_uuid and not job.ended:
        if not job.undoing and job.cancel_requested:
            # A step that is repeated has done something, and may have more to do.
            begun = job.index < len(steps) and job.steps[job.index].state is StepState.DONE
            job.trigger(Job.UndoBegun(error="cancelled on request", index=job.index - (not begun)))
        elif not job.undoing and job.index >= len(steps):
            await flow.succeed(unit, job)
            await finish(unit, job, JobState.SUCCEEDED)
        elif job.undoing and job.index < 0:
            await flow.fail(unit, job)
            await finish(unit, job, JobState.CANCELED if job.cancel_requested else JobState.FAILED)
        else:
            await intend(unit, job, steps[job.index])
