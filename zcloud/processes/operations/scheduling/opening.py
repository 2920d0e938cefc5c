"""Opens occurrences: when a scheduler is due, when somebody wants a run now, when the past is made up for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from zcloud.domain.operations.recurrence import count, newest, next_after
from zcloud.domain.operations.scheduler import (
    OverlapPolicy,
    Scheduler,
    SchedulerAttachments,
    SchedulerClock,
    SchedulerState,
)
from zcloud.domain.operations.scheduler_job import COPIES, SchedulerJob, SchedulerJobRuns
from zcloud.domain.operations.scheduler_occurrence import OccurrenceState, SchedulerOccurrence, Trigger
from zcloud.kernel.clock import SECOND
from zcloud.kernel.resource import State
from zcloud.kernel.unit import Unit


async def fire(unit: Unit, scheduler: Scheduler, now: int) -> list[str]:
    """What is due of a scheduler: one run of its jobs at most, and what was missed is written down. Gives occurrences.

    All of it is one append: whoever comes second finds that the clock has moved on.
    """
    clock = await unit.companion(SchedulerClock, scheduler)
    if scheduler.state is not SchedulerState.ENABLED or not clock.next_fire_date or clock.due_date > now:
        return []
    first = clock.next_fire_date
    instant = newest(scheduler.rule, first, now)
    jobs = await enabled_jobs(unit, scheduler)
    if instant > first:
        missed = count(scheduler.rule, first, instant)
        clock.miss(scheduler, first, missed, instant)
        await _miss(unit, scheduler, jobs, first, missed)
    if clock.due_date > now:
        return []
    late = now - clock.due_date
    in_time = [job for job in jobs if late <= _window(scheduler, job) * SECOND]
    await _miss(unit, scheduler, [job for job in jobs if job not in in_time], instant, 1)
    if not in_time and late > scheduler.catch_up_window * SECOND:
        clock.miss(scheduler, instant, 1, next_after(scheduler.rule, instant))
        return []
    opened = [
        await open_occurrence(unit, scheduler, job, instant, Trigger.SCHEDULE, scheduler.overlap_policy)
        for job in in_time
    ]
    clock.fire(scheduler, instant, counts=bool(in_time))
    return [uuid for uuid in opened if uuid]


def _window(scheduler: Scheduler, job: SchedulerJob) -> int:
    return scheduler.window(copies=job.action in COPIES)


async def enabled_jobs(unit: Unit, scheduler: Scheduler) -> list[SchedulerJob]:
    """The jobs that it runs now."""
    attached = await unit.companion(SchedulerAttachments, scheduler)
    found = [await unit.find(SchedulerJob, uuid) for uuid in attached.scheduler_job_uuids]
    return [job for job in found if job is not None and job.state is State.ENABLED and not job.deleting_job]


async def _miss(unit: Unit, scheduler: Scheduler, jobs: Iterable[SchedulerJob], first: int, number: int) -> None:
    """One occurrence for all of them: after a long outage there would be too many to be read."""
    passed = "a planned moment" if number == 1 else f"{number} planned moments"
    for job in jobs:
        window = _window(scheduler, job)
        words = f"{passed} passed while nobody was there; catch_up_window is {window} s, for one run"
        occurrence = await _new(unit, scheduler, job, first, Trigger.SCHEDULE)
        if occurrence is not None:
            occurrence.end(OccurrenceState.MISSED, "MISSED", words, number)


async def open_occurrence(
    unit: Unit, scheduler: Scheduler, job: SchedulerJob, instant: int, trigger: Trigger, policy: OverlapPolicy
) -> str:
    """Open it, and start it unless the job is at work already. Empty when this very one has been there before."""
    occurrence = await _new(unit, scheduler, job, instant, trigger)
    if occurrence is None:
        return ""
    runs = await unit.companion(SchedulerJobRuns, job)
    if not runs.running_occurrence_uuids or policy is OverlapPolicy.ALLOW_ALL:
        occurrence.start()
        runs.trigger(SchedulerJobRuns.Began(occurrence_uuid=occurrence.uuid))
        return occurrence.uuid
    full = policy is OverlapPolicy.BUFFER_ONE and bool(runs.waiting_occurrence_uuids)
    if policy is OverlapPolicy.SKIP or full:
        other = runs.running_occurrence_uuids[0]
        occurrence.end(OccurrenceState.SKIPPED, "OVERLAP", f"the job was still at work on occurrence {other}")
        return occurrence.uuid
    if policy is OverlapPolicy.CANCEL_OTHER:
        for uuid in (*runs.running_occurrence_uuids, *runs.waiting_occurrence_uuids):
            other_one = await unit.find(SchedulerOccurrence, uuid)
            if other_one is not None and not other_one.ended:
                other_one.request_cancel()
    runs.trigger(SchedulerJobRuns.Queued(occurrence_uuid=occurrence.uuid))
    return occurrence.uuid


async def _new(
    unit: Unit, scheduler: Scheduler, job: SchedulerJob, instant: int, trigger: Trigger
) -> SchedulerOccurrence | None:
    uuids = SchedulerOccurrence.uuids_of(scheduler.uuid, job.uuid, instant, trigger)
    # Also one that is no longer kept: clocks that go back run nothing twice.
    if await unit.last(SchedulerOccurrence, *uuids) is not None:
        return None
    occurrence = await unit.new(SchedulerOccurrence, uuids.uuid, account_uuid=job.account_uuid)
    occurrence.create(
        name=f"{job.name} {datetime.fromtimestamp(instant // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}",
        resource_uuids=[target.target_uuid for target in job.enabled_targets],
        trigger_type=trigger,
        scheduler_uuid=scheduler.uuid,
        scheduler_job_uuid=job.uuid,
        action=job.action,
        planned_date=instant,
    )
    return occurrence
