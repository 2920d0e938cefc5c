"""Calls on scheduled jobs: what they do is checked here as if it were done now, and again at each run."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

import msgspec

from zcloud.api import access
from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.operations import actions
from zcloud.api.operations.actions import Action, action_of
from zcloud.api.pipeline import respond
from zcloud.api.standard import arguments, state_event
from zcloud.domain.operations.recurrence import after
from zcloud.domain.operations.scheduler import Scheduler, SchedulerClock
from zcloud.domain.operations.scheduler_job import (
    ACTIONS,
    SNAPSHOTS,
    JobTarget,
    JobType,
    SchedulerJob,
    SchedulerJobSchedulers,
)
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Refused, invalid
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.targets import attach, detach, remove

RETRIES, RETRY_SECONDS = 3, 30
# What the seed advises (SCH-13).
MOST_SNAPSHOTS = 5
RECOMMENDED_SNAPSHOTS = 32
FREQUENT = 3600 * SECOND


@command("CreateSchedulerJob")
async def create_scheduler_job(call: Call, unit: Unit, request: Any) -> Any:
    """With its schedulers in one append, or not at all (SCH-07)."""
    given = arguments(call, request)
    kind, name = _type(given)
    action = _action(name, kind, given.get("target_field", ""))
    job = await unit.new(SchedulerJob, request.resource_uuid)
    job.create(
        name=request.name,
        description=request.description,
        type=kind,
        action=action.rpc.name,
        arguments=request.arguments.strip(),
        target_field=action.field,
        target_kind=action.kind,
        targets=await _targets(call, unit, action, request.resource_uuids, request.arguments),
        reserved_snapshots=request.reserved_snapshots,
        max_retries=given.get("max_retries", RETRIES),
        retry_interval=given.get("retry_interval", RETRY_SECONDS),
        made_by=msgspec.structs.replace(call.actor, session_uuid="", source=""),
    )
    for uuid in dict.fromkeys(request.scheduler_uuids):
        scheduler = await unit.usable(Scheduler, uuid)
        access.must_own(call.actor, scheduler, "scheduler")
        await attach(unit, scheduler, job)
    return await _warned(call, unit, job)


@command("UpdateSchedulerJob")
async def update_scheduler_job(call: Call, unit: Unit, request: Any) -> Any:
    """Runs that have begun go on with what they were begun with, as far as they have called."""
    job = await unit.usable(SchedulerJob, request.uuid)
    given = arguments(call, request)
    job.update(**{name: given[name] for name in ("name", "description") if name in given})
    changes = {n: given[n] for n in ("reserved_snapshots", "max_retries", "retry_interval") if n in given}
    if "arguments" in given or "resource_uuids" in given:
        text = given.get("arguments", job.arguments).strip()
        uuids = given.get("resource_uuids") or tuple(target.target_uuid for target in job.targets)
        action = action_of(job.action, job.target_field)
        targets = await _targets(call, unit, action, uuids, text)
        changes["arguments"] = text
        if "resource_uuids" in given:
            before = {target.target_uuid: target for target in job.targets}
            changes["targets"] = tuple(before.get(target.target_uuid, target) for target in targets)
    job.change_order(**changes)
    return await _warned(call, unit, job)


@command("ChangeSchedulerJobState")
async def change_scheduler_job_state(call: Call, unit: Unit, request: Any) -> SchedulerJob:
    """Enabling looks at all targets anew: those that came back from the recycle bin take part again."""
    job = await unit.usable(SchedulerJob, request.uuid)
    event = state_event(call, request)
    if event == "enable":
        action = action_of(job.action, job.target_field)
        uuids = [target.target_uuid for target in job.targets]
        job.enable(await _targets(call, unit, action, uuids, job.arguments))
    else:
        job.change_state(event)
    return job


@command("AttachSchedulerJobToScheduler")
async def attach_scheduler_job(call: Call, unit: Unit, request: Any) -> Any:
    """In any combination (SCH-01)."""
    scheduler, job = await _both(call, unit, request)
    await attach(unit, scheduler, job)
    return await _warned(call, unit, job)


@command("DetachSchedulerJobFromScheduler")
async def detach_scheduler_job(call: Call, unit: Unit, request: Any) -> SchedulerJob:
    """Runs that have begun go on."""
    scheduler, job = await _both(call, unit, request)
    await detach(unit, scheduler, job)
    return job


@command("DeleteSchedulerJob")
async def delete_scheduler_job(call: Call, unit: Unit, request: Any) -> SchedulerJob:
    """What it has made is kept, and so is the history of its runs."""
    job = await unit.get(SchedulerJob, request.uuid)
    await remove(unit, job)
    return job


async def _both(call: Call, unit: Unit, request: Any) -> tuple[Scheduler, SchedulerJob]:
    scheduler = await unit.get(Scheduler, request.scheduler_uuid)
    job = await unit.get(SchedulerJob, request.scheduler_job_uuid)
    access.must_own(call.actor, scheduler, "scheduler")
    access.must_own(call.actor, job, "scheduler_job")
    return scheduler, job


def _type(given: dict[str, Any]) -> tuple[JobType, str]:
    kind, name = JobType(given.get("type", JobType.ACTION.value)), given.get("action", "")
    if kind is JobType.ACTION:
        if not name:
            raise invalid("action", name, "must be the name of an RPC such as StopVmInstance, unless type is given")
        return next((known for known, rpc in ACTIONS.items() if rpc == name), kind), name
    if name and name != ACTIONS[kind]:
        raise invalid("action", name, f"must be {ACTIONS[kind]} or absent for the type {kind.value}")
    return kind, ACTIONS[kind]


def _action(name: str, kind: JobType, field: str) -> Action:
    try:
        return action_of(name, field)
    except Refused as refused:
        if kind is JobType.ACTION or refused.facts.get("field") != "action":
            raise
        words = "must be one that this version can carry out"
        raise invalid("type", kind.value, f"{words}; it has no {name}") from None


async def _targets(call: Call, unit: Unit, action: Action, uuids: Any, text: str) -> tuple[JobTarget, ...]:
    """They exist, are of the right kind and the caller's own, and the action would be understood for each."""
    found = []
    for n, uuid in enumerate(dict.fromkeys(uuids)):
        resource = await unit.find(Resource, uuid)
        if resource is not None and access.may_see(call.actor, resource) and action.kind not in resource.kinds:
            right = f"must name a {action.kind}, which is what {action.rpc.name} acts on; it is a {resource.kind}"
            raise invalid(f"resource_uuids[{n}]", uuid, right)
        await actions.check(call, unit, action, uuid, text)
        assert resource is not None
        # Where the target is not called uuid, the pipeline asks only that it can be seen.
        access.must_own(call.actor, resource, action.kind)
        found.append(JobTarget(uuid, resource.account_uuid))
    return tuple(found)


async def _warned(call: Call, unit: Unit, job: SchedulerJob) -> Any:
    response: Any = await respond(call, unit, job)
    response.warnings.extend(await _warnings(unit, job))
    return response


async def _warnings(unit: Unit, job: SchedulerJob) -> list[str]:
    """What the seed advises for snapshots (SCH-08, SCH-13)."""
    if job.action not in SNAPSHOTS:
        return []
    found = []
    better = f"keep at most {MOST_SNAPSHOTS} of a volume, and use backups for the long term"
    if not job.reserved_snapshots:
        found.append(f"Snapshots are never removed: reserved_snapshots is 0. {better[0].upper()}{better[1:]}.")
    elif job.reserved_snapshots > MOST_SNAPSHOTS:
        found.append(f"{job.reserved_snapshots} snapshots slow VMs down and take room on primary storage: {better}.")
    if job.reserved_snapshots > RECOMMENDED_SNAPSHOTS:
        found.append(f"1 to {RECOMMENDED_SNAPSHOTS} reserved snapshots are recommended.")
    schedulers = await unit.companion(SchedulerJobSchedulers, job)
    for uuid in schedulers.scheduler_uuids:
        scheduler = await unit.find(Scheduler, uuid)
        if scheduler is not None and await _is_frequent(unit, scheduler):
            found.append(
                f'Scheduler "{scheduler.name}" runs more often than once an hour: frequent snapshots slow VMs down '
                "and put their data at risk."
            )
    return found


async def _is_frequent(unit: Unit, scheduler: Scheduler) -> bool:
    clock = await unit.companion(SchedulerClock, scheduler)
    upcoming = list(islice(after(scheduler.rule, (clock.next_fire_date or unit.cloud.clock.now()) - 1), 5))
    return any(later - earlier < FREQUENT for earlier, later in pairwise(upcoming))
