"""Closes occurrences: what became of them is said, and the job is free for the next."""

from __future__ import annotations

from zcloud.domain.operations.scheduler import Scheduler, SchedulerClock, SchedulerState
from zcloud.domain.operations.scheduler_job import SchedulerJob, SchedulerJobRuns
from zcloud.domain.operations.scheduler_occurrence import (
    OPEN,
    OccurrenceState,
    SchedulerOccurrence,
    TargetState,
    Trigger,
)
from zcloud.kernel.unit import Unit


async def close(unit: Unit, occurrence: SchedulerOccurrence, now: int) -> None:
    """When all of its targets are done. A scheduler that is to pause on failure pauses in the same append."""
    if occurrence.ended or any(target.state in OPEN for target in occurrence.targets):
        return
    state, reason, error = occurrence.outcome()
    occurrence.end(state, reason, error)
    await free(unit, occurrence)
    if state is OccurrenceState.FAILED and occurrence.trigger_type is Trigger.SCHEDULE:
        await _pause(unit, occurrence, now)


async def free(unit: Unit, occurrence: SchedulerOccurrence) -> None:
    """The job is no longer at work on it; the next that waits is started."""
    job = await unit.find(SchedulerJob, occurrence.scheduler_job_uuid)
    if job is None:
        return
    runs = await unit.companion(SchedulerJobRuns, job)
    if occurrence.uuid not in (*runs.running_occurrence_uuids, *runs.waiting_occurrence_uuids):
        return
    runs.trigger(SchedulerJobRuns.Ended(occurrence_uuid=occurrence.uuid, state=occurrence.state.value))
    while runs.waiting_occurrence_uuids and not runs.running_occurrence_uuids:
        following = await unit.find(SchedulerOccurrence, runs.waiting_occurrence_uuids[0])
        if following is not None and following.state is OccurrenceState.WAITING and not following.cancel_requested:
            following.start()
            runs.trigger(SchedulerJobRuns.Began(occurrence_uuid=following.uuid))
            return
        if following is not None and not following.ended:
            cancel_waiting(following)
        gone = runs.waiting_occurrence_uuids[0]
        runs.trigger(SchedulerJobRuns.Ended(occurrence_uuid=gone, state=OccurrenceState.CANCELED.value))


def cancel_waiting(occurrence: SchedulerOccurrence) -> None:
    """It has not begun: it ends at once."""
    for target in occurrence.targets:
        occurrence.end_target(target.target_uuid, TargetState.CANCELED, "CANCELED", "cancelled before it began")
    occurrence.end(OccurrenceState.CANCELED, "CANCELED", "cancelled before it began")


async def cancel(unit: Unit, occurrence: SchedulerOccurrence) -> None:
    """On request of its owner; one that runs is asked to stop, and its calls are no longer made."""
    occurrence.request_cancel()
    if occurrence.state is OccurrenceState.WAITING:
        cancel_waiting(occurrence)
        await free(unit, occurrence)


async def _pause(unit: Unit, occurrence: SchedulerOccurrence, now: int) -> None:
    scheduler = await unit.find(Scheduler, occurrence.scheduler_uuid)
    if scheduler is None or not scheduler.pause_on_failure or scheduler.state is not SchedulerState.ENABLED:
        return
    scheduler.pause(f"a run has failed (occurrence {occurrence.uuid}): {occurrence.error}"[:1024])
    (await unit.companion(SchedulerClock, scheduler)).plan(scheduler, now)
