"""Targets of scheduled jobs that are gone, thrown away or given away, and what becomes of their jobs."""

from __future__ import annotations

import enum

from zcloud.domain.operations.scheduler import Scheduler, SchedulerAttachments
from zcloud.domain.operations.scheduler_job import JobTarget, SchedulerJob, SchedulerJobSchedulers
from zcloud.kernel.aggregate import companions_of
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.deletion import on_delete

GONE, IN_BIN, OTHER_OWNER = "TARGET_GONE", "TARGET_IN_RECYCLE_BIN", "TARGET_CHANGED_OWNER"
# How kinds say that a resource is in the recycle bin, or on its way there or out of the world.
BIN = ("Destroyed", "Destroying", "Deleted", "Expunging")


async def objection(unit: Unit, target: JobTarget) -> tuple[str, str]:
    """Why nothing may be done to a target: a reason and words; empty when it may."""
    resource = await unit.find(Resource, target.target_uuid)
    if resource is None:
        return GONE, f"{target.target_uuid} is gone"
    if target.account_uuid and resource.account_uuid != target.account_uuid:
        return OTHER_OWNER, f'{resource.kind} "{resource.name}" belongs to another account now'
    beside = [await unit.companion(cls, resource) for cls in companions_of(resource.kinds)]
    for part in (resource, *beside):
        for name in ("state", "status"):
            value = getattr(part, name, None)
            if isinstance(value, enum.Enum) and value.value in BIN:
                return IN_BIN, f'{resource.kind} "{resource.name}" is in the recycle bin'
    return "", ""


async def follow(unit: Unit, job: SchedulerJob, target: JobTarget) -> tuple[str, str]:
    """Let the job follow what became of a target; gives the objection, empty when there is none.

    What is gone is no target any more, and a job without targets goes as well; else the target waits until somebody
    enables the job.
    """
    reason, words = await objection(unit, target)
    if reason == GONE:
        job.lose_target(target.target_uuid)
        if not job.targets:
            await remove(unit, job)
    elif reason:
        job.disable_target(target.target_uuid, words)
    return reason, words


async def remove(unit: Unit, job: SchedulerJob) -> None:
    """The job goes; schedulers forget it, and what it has made is kept."""
    await forget_job(unit, job)
    job.remove()


@on_delete("scheduler_job")
async def forget_job(unit: Unit, job: Resource) -> None:
    """Also when it goes with its account."""
    assert isinstance(job, SchedulerJob)
    schedulers = await unit.companion(SchedulerJobSchedulers, job)
    for uuid in schedulers.scheduler_uuids:
        scheduler = await unit.find(Scheduler, uuid)
        if scheduler is not None:
            await detach(unit, scheduler, job)


@on_delete("scheduler")
async def let_go(unit: Unit, scheduler: Resource) -> None:
    """A scheduler goes; its jobs may join others (SCH-03)."""
    assert isinstance(scheduler, Scheduler)
    attached = await unit.companion(SchedulerAttachments, scheduler)
    for uuid in attached.scheduler_job_uuids:
        job = await unit.find(SchedulerJob, uuid)
        if job is not None:
            await detach(unit, scheduler, job)


async def attach(unit: Unit, scheduler: Scheduler, job: SchedulerJob) -> None:
    """Both sides know it (SCH-01)."""
    (await unit.companion(SchedulerAttachments, scheduler)).attach(job.uuid)
    schedulers = await unit.companion(SchedulerJobSchedulers, job)
    schedulers.trigger(SchedulerJobSchedulers.Attached(scheduler_uuid=scheduler.uuid))


async def detach(unit: Unit, scheduler: Scheduler, job: SchedulerJob) -> None:
    """Raises FAILED_PRECONDITION when it is not attached."""
    (await unit.companion(SchedulerAttachments, scheduler)).detach(job.uuid)
    schedulers = await unit.companion(SchedulerJobSchedulers, job)
    schedulers.trigger(SchedulerJobSchedulers.Detached(scheduler_uuid=scheduler.uuid))
