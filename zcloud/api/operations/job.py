"""WaitJob, WatchJob, CancelJob, RetryJob, SkipJobStep; a running job's progress is added to what the log knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query, stream
from zcloud.api.reading import fetch
from zcloud.api.then import Moment, moment_of
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import cancel
from zcloud.v1 import job_pb2 as pb

ENDED = (pb.Job.STATE_SUCCEEDED, pb.Job.STATE_FAILED, pb.Job.STATE_CANCELED)
POLL_SECONDS = 0.5


async def job_of(call: Call, uuid: str, moment: Moment | None = None) -> pb.Job:
    """The job as the caller may see it, with the progress of its running step; of then there is none."""
    job = pb.Job.FromString(await fetch(call, "job", uuid, moment))
    if moment is not None:
        return job
    percent, detail = call.node.runner.progress.get(uuid, (0, ""))
    for step in job.steps:
        if step.state in (pb.JobStep.STATE_RUNNING, pb.JobStep.STATE_UNDOING):
            step.percent, step.detail = percent, detail
            job.percent = min(99, job.percent + percent // max(1, len(job.steps)))
        elif step.state == pb.JobStep.STATE_DONE:
            step.percent = 100
    return job


@query("GetJob")
async def get_job(call: Call, request: pb.GetJobRequest) -> pb.GetJobResponse:
    """With progress, which lies outside the log."""
    rules.check(request)
    return pb.GetJobResponse(inventory=await job_of(call, request.uuid, await moment_of(call, request)))


@query("WaitJob")
async def wait_job(call: Call, request: pb.WaitJobRequest) -> pb.WaitJobResponse:
    """Answers when the job has ended, or when the time is over."""
    rules.check(request)
    await job_of(call, request.uuid)
    ended = await call.node.runner.ended(request.uuid, request.timeout_seconds or 60)
    return pb.WaitJobResponse(inventory=await job_of(call, request.uuid), ended=ended)


@stream("WatchJob")
async def watch_job(call: Call, request: pb.WatchJobRequest) -> AsyncIterator[pb.WatchJobResponse]:
    """At once, at each change (progress at most twice a second), and last when it has ended."""
    rules.check(request)
    last = None
    while True:
        job = await job_of(call, request.uuid)
        if job != last:
            yield pb.WatchJobResponse(inventory=job)
            last = job
        if job.state in ENDED:
            return
        if not await call.node.runner.ended(request.uuid, POLL_SECONDS):
            await asyncio.sleep(0)


@command("CancelJob")
async def cancel_job(call: Call, unit: Unit, request: Any) -> Job:
    """Between steps; the running step is asked to give up. What the admin has begun, only the admin stops."""
    job = await unit.get(Job, request.uuid)
    asked = job.requested_by
    if asked.is_admin and asked.account_uuid and not call.actor.is_admin:
        text = f'job {job.uuid} was asked for by "{asked.account_name}", who alone may cancel it'
        raise Refused(Code.PERMISSION_DENIED, Reason.NOT_ALLOWED, text, resource=("job", job.uuid))
    await cancel(unit, job)
    return job


@command("RetryJob")
async def retry_job(call: Call, unit: Unit, request: Any) -> Job:
    """The failed undo of a Stuck job, again."""
    job = await unit.get(Job, request.uuid)
    job.retry()
    return job


@command("SkipJobStep")
async def skip_job_step(call: Call, unit: Unit, request: Any) -> Job:
    """Without the failed undo."""
    job = await unit.get(Job, request.uuid)
    job.skip()
    return job
