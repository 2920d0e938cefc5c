"""Calls on schedulers: rules, states, previews, runs now and runs for the past."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.api.pipeline import respond
from zcloud.api.reading import fetch
from zcloud.api.standard import arguments, short, state_event
from zcloud.domain.operations.recurrence import Recurrence, after, zone
from zcloud.domain.operations.scheduler import (
    OverlapPolicy,
    Scheduler,
    SchedulerAttachments,
    SchedulerClock,
    SchedulerType,
    check_rule,
)
from zcloud.domain.operations.scheduler_job import SchedulerJob
from zcloud.domain.operations.scheduler_occurrence import Trigger
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.resource import State
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.opening import enabled_jobs, open_occurrence
from zcloud.processes.operations.scheduling.targets import let_go
from zcloud.v1 import scheduler_pb2 as pb

RULE = (
    "interval", "cron", "time_zone", "start_time", "stop_time", "repeat_count", "jitter", "overlap_policy",
    "catch_up_window", "pause_on_failure",
)  # fmt: skip
PREVIEWED = 10
MOST_AT_ONCE = 1000


def micros(date: Timestamp) -> int:
    """As the kernel has it."""
    return date.seconds * SECOND + date.nanos // 1000


def _rule(call: Call, request: Any) -> dict[str, Any]:
    """The fields of a rule that the request has, in the domain's form."""
    given = arguments(call, request)
    found = {name: given[name] for name in RULE if name in given}
    for name in ("start_time", "stop_time"):
        if name in found:
            found[name] = micros(getattr(request, name))
    if "overlap_policy" in found:
        found["overlap_policy"] = OverlapPolicy(found["overlap_policy"])
    if found.get("time_zone") == "":
        found["time_zone"] = "UTC"
    return found


@command("CreateScheduler")
async def create_scheduler(call: Call, unit: Unit, request: Any) -> Scheduler:
    """It plans at once; jobs are attached to it."""
    now = unit.cloud.now()
    scheduler = await unit.new(Scheduler, request.resource_uuid)
    rule = {**_rule(call, request), "catch_up_by_job": not request.HasField("catch_up_window")}
    scheduler.create(now, name=request.name, description=request.description, **rule)
    (await unit.companion(SchedulerClock, scheduler)).plan(scheduler, now)
    return scheduler


@command("UpdateScheduler")
async def update_scheduler(call: Call, unit: Unit, request: Any) -> Scheduler:
    """Another rule holds from now on; runs that have begun go on."""
    now = unit.cloud.now()
    scheduler = await unit.usable(Scheduler, request.uuid)
    given = arguments(call, request)
    scheduler.update(**{name: given[name] for name in ("name", "description") if name in given})
    rule = _rule(call, request)
    if request.HasField("catch_up_window"):
        rule["catch_up_by_job"] = False
    if scheduler.change_rule(now, **rule):
        (await unit.companion(SchedulerClock, scheduler)).plan(scheduler, now)
    return scheduler


@command("ChangeSchedulerState")
async def change_scheduler_state(call: Call, unit: Unit, request: Any) -> Scheduler:
    """What would have run while it was disabled is left out."""
    scheduler = await unit.usable(Scheduler, request.uuid)
    scheduler.change_state(state_event(call, request))
    return await _planned(unit, scheduler)


@command("PauseScheduler")
async def pause_scheduler(call: Call, unit: Unit, request: Any) -> Scheduler:
    """With a note that says why."""
    scheduler = await unit.usable(Scheduler, request.uuid)
    scheduler.pause(request.note)
    return await _planned(unit, scheduler)


@command("ResumeScheduler")
async def resume_scheduler(call: Call, unit: Unit, request: Any) -> Scheduler:
    """From the next planned moment on."""
    scheduler = await unit.usable(Scheduler, request.uuid)
    scheduler.resume(request.note)
    return await _planned(unit, scheduler)


async def _planned(unit: Unit, scheduler: Scheduler) -> Scheduler:
    if scheduler.pending:
        (await unit.companion(SchedulerClock, scheduler)).plan(scheduler, unit.cloud.now())
    return scheduler


@command("DeleteScheduler")
async def delete_scheduler(call: Call, unit: Unit, request: Any) -> Scheduler:
    """Its jobs are only detached, and may join others (SCH-03)."""
    scheduler = await unit.get(Scheduler, request.uuid)
    await let_go(unit, scheduler)
    scheduler.remove()
    return scheduler


@query("PreviewScheduler")
async def preview_scheduler(call: Call, request: pb.PreviewSchedulerRequest) -> pb.PreviewSchedulerResponse:
    """The moments that would follow, in UTC and as the wall's clock shows them."""
    rules.check(request)
    now = call.node.cloud.now()
    start = micros(request.from_time) if request.HasField("from_time") else now
    most = request.count or PREVIEWED
    if request.uuid:
        shown = pb.Scheduler.FromString(await fetch(call, "scheduler", request.uuid))
        rule = Recurrence(
            shown.interval, shown.cron, shown.time_zone, micros(shown.start_time), micros(shown.stop_time)
        )
        left = shown.repeat_count - shown.fired_count if shown.repeat_count else most
    else:
        made = check_rule(now, **_rule(call, request))
        names = ("interval", "cron", "time_zone", "start_time", "stop_time")
        given = [made.get(name, default) for name, default in zip(names, (0, "", "UTC", 0, 0), strict=True)]
        rule = Recurrence(*given)
        left = request.repeat_count or most
    response = pb.PreviewSchedulerResponse()
    for instant in islice(after(rule, start), max(0, min(most, left))):
        local = datetime.fromtimestamp(instant // SECOND, UTC).astimezone(zone(rule.time_zone))
        response.instants.add(local_time=local.isoformat()).time.FromMicroseconds(instant)
    return response


@command("RunSchedulerNow")
async def run_scheduler_now(call: Call, unit: Unit, request: Any) -> pb.RunSchedulerNowResponse:
    """Besides the schedule, which goes on as it was."""
    scheduler = await unit.usable(Scheduler, request.uuid)
    jobs = await _chosen(unit, scheduler, request)
    policy = _policy(request, scheduler.overlap_policy)
    now = unit.cloud.now()
    opened = [await open_occurrence(unit, scheduler, job, now, Trigger.NOW, policy) for job in jobs]
    return await _opened(call, unit, scheduler, opened)


@command("BackfillScheduler")
async def backfill_scheduler(call: Call, unit: Unit, request: Any) -> pb.BackfillSchedulerResponse:
    """Moments that were made up for before are left out."""
    scheduler = await unit.usable(Scheduler, request.uuid)
    now = unit.cloud.now()
    begin, end = micros(request.from_time), micros(request.to_time)
    if end > now:
        raise invalid("to_time", request.to_time.ToJsonString(), "must not lie in the future")
    if begin > end:
        raise invalid("from_time", request.from_time.ToJsonString(), "must not be later than to_time")
    if scheduler.type is SchedulerType.INTERVAL and begin < scheduler.start_time:
        text = f"must not be before the scheduler's start_time, {_iso(scheduler.start_time)}"
        raise invalid("from_time", request.from_time.ToJsonString(), text)
    jobs = await _chosen(unit, scheduler, request)
    most = MOST_AT_ONCE // len(jobs)
    instants = []
    for instant in islice(after(scheduler.rule, begin - 1), most + 1):
        if instant <= end:
            instants.append(instant)
    if len(instants) > most:
        text = f"must be nearer to from_time: at most {MOST_AT_ONCE} runs are made up for at once, over all jobs"
        raise invalid("to_time", request.to_time.ToJsonString(), text)
    policy = _policy(request, OverlapPolicy.BUFFER_ALL)
    opened = [
        await open_occurrence(unit, scheduler, job, instant, Trigger.BACKFILL, policy)
        for instant in instants
        for job in jobs
    ]
    return await _opened(call, unit, scheduler, opened)


def _policy(request: Any, default: OverlapPolicy) -> OverlapPolicy:
    if not request.overlap_policy:
        return default
    return OverlapPolicy(short(pb.Scheduler.OverlapPolicy.Name(request.overlap_policy), "OverlapPolicy"))


async def _chosen(unit: Unit, scheduler: Scheduler, request: Any) -> list[SchedulerJob]:
    jobs = await enabled_jobs(unit, scheduler)
    wanted = tuple(dict.fromkeys(request.scheduler_job_uuids))
    attached = (await unit.companion(SchedulerAttachments, scheduler)).scheduler_job_uuids
    for uuid in wanted:
        if uuid not in attached:
            text = f'job {uuid} is not attached to scheduler "{scheduler.name}"'
            raise precondition(Reason.NOT_ATTACHED, text, scheduler_job_uuid=uuid)
        if uuid not in [job.uuid for job in jobs]:
            text = f"job {uuid} is {State.DISABLED.value}; enable it with ChangeSchedulerJobState"
            raise precondition(Reason.WRONG_STATE, text, scheduler_job_uuid=uuid)
    if not jobs:
        text = f'no enabled job is attached to scheduler "{scheduler.name}"; see AttachSchedulerJobToScheduler'
        raise precondition(Reason.NOT_ATTACHED, text)
    return [job for job in jobs if not wanted or job.uuid in wanted]


async def _opened(call: Call, unit: Unit, scheduler: Scheduler, opened: list[str]) -> Any:
    response: Any = await respond(call, unit, scheduler)
    response.occurrence_uuids.extend(uuid for uuid in opened if uuid)
    return response


def _iso(instant: int) -> str:
    return datetime.fromtimestamp(instant // SECOND, UTC).isoformat()
