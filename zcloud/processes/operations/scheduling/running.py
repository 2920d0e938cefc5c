"""Carries occurrences out: calls their targets, follows jobs to their ends, tries again, and says what came of it.

Nothing it keeps in memory matters: another node, or the next life of this one, goes on from the log.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from zcloud.domain.operations.scheduler_job import SchedulerJob, SchedulerJobRuns
from zcloud.domain.operations.scheduler_occurrence import (
    GOING,
    OccurrenceState,
    OccurrenceTarget,
    SchedulerOccurrence,
    TargetState,
)
from zcloud.kernel import failpoint
from zcloud.kernel.clock import SECOND
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.ids import derive
from zcloud.kernel.job import Job, JobState
from zcloud.kernel.record import Record
from zcloud.kernel.resource import State
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import cancel as cancel_job
from zcloud.processes.operations.scheduling.closing import close
from zcloud.processes.operations.scheduling.order import Answer, Order
from zcloud.processes.operations.scheduling.reserved import keep_newest
from zcloud.processes.operations.scheduling.targets import follow

log = logging.getLogger(__name__)
# Calls that are made at the same time, so that people's own calls do not wait for them.
AT_ONCE = 64
# So few that more may be begun.
EASY = 16
# The same call would be refused again.
FINAL = (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED, Code.ALREADY_EXISTS)
AGAIN_SECONDS = 5.0
LONGEST_PAUSE = 86_400


class Running:
    """The occurrences that go on, on one node."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._jobs: dict[str, str] = {}  # job -> occurrence that waits for it
        self._later: list[tuple[int, str]] = []
        self._calls = asyncio.Semaphore(AT_ONCE)
        self._closing = False

    async def resume(self) -> None:
        """Go on with all that has not ended."""
        for state in GOING:
            for uuid in await self.cloud.ports["views"].where("scheduler_occurrence", state=state.value):
                self.drive(uuid)

    async def close(self) -> None:
        """Stop; what goes on is in the log."""
        self._closing = True
        drivers = list(self._drivers.values())
        for driver in drivers:
            driver.cancel()
        await asyncio.gather(*drivers, return_exceptions=True)

    async def eased(self) -> None:
        """Returns when few are being seen to."""
        while len(self._drivers) > EASY:
            await asyncio.wait(list(self._drivers.values()), return_when=asyncio.FIRST_COMPLETED)

    def hear(self, records: list[Record]) -> None:
        """What was just written, by whomever."""
        for record in records:
            if record.kind == "scheduler_occurrence":
                if record.topic.endswith((".Started", ".CancelRequested", ".Accepted")):
                    self.drive(record.resource_uuid)
            elif record.topic == "job.Finished" and record.resource_uuid in self._jobs:
                self.drive(self._jobs.pop(record.resource_uuid))

    def wake(self, now: int) -> None:
        """Those whose pause is over."""
        while self._later and self._later[0][0] <= now:
            self.drive(heapq.heappop(self._later)[1])

    def drive(self, uuid: str) -> None:
        """See to it, now or, when that is being done, once more."""
        if self._closing or not self.cloud.leases.owns(uuid):
            return
        if uuid in self._drivers:
            self._again.add(uuid)
            return
        task = asyncio.get_running_loop().create_task(self._run(uuid), name=f"occurrence-{uuid}")
        self._drivers[uuid] = task
        task.add_done_callback(lambda _: self._rested(uuid))

    def _rested(self, uuid: str) -> None:
        del self._drivers[uuid]
        if uuid in self._again:
            self._again.discard(uuid)
            self.drive(uuid)

    def _in(self, seconds: float, uuid: str) -> None:
        heapq.heappush(self._later, (self.cloud.now() + int(seconds * SECOND), uuid))

    async def _run(self, uuid: str) -> None:
        try:
            await self._advance(uuid)
        except Exception:
            log.exception("occurrence %s: it is gone on with in a moment", uuid)
            self._in(AGAIN_SECONDS, uuid)

    async def _advance(self, uuid: str) -> None:
        found = await self.cloud.load(uuid)
        if not isinstance(found, SchedulerOccurrence) or found.state is not OccurrenceState.RUNNING:
            return
        if found.cancel_requested:
            await self._decide(found, _stop)
        else:
            await asyncio.gather(*(self._call(found, target) for target in found.targets))
        await self._decide(found, self._collect)
        now = await self.cloud.load(uuid)
        if isinstance(now, SchedulerOccurrence) and now.ended:
            await keep_newest(self.cloud, now)

    # -- one target

    async def _call(self, occurrence: SchedulerOccurrence, target: OccurrenceTarget) -> None:
        if target.state is not TargetState.PENDING:
            return
        if target.retry_date > self.cloud.now():
            return
        job = await self.cloud.load(occurrence.scheduler_job_uuid)
        if not await self._ready(occurrence, target) or not isinstance(job, SchedulerJob):
            return
        async with self._calls:
            failpoint.hit("occurrence.call.before")
            try:
                await self.cloud.ports["actions"].act(self._order(occurrence, job, target))
            except Refused as refused:
                await self._take_refusal(occurrence, target, refused)
            failpoint.hit("occurrence.call.after")

    def _order(self, occurrence: SchedulerOccurrence, job: SchedulerJob, target: OccurrenceTarget) -> Order:
        async def answered(unit: Unit, answer: Answer) -> None:
            it = await unit.get(SchedulerOccurrence, occurrence.uuid)
            if not it.waits_for_call(target.target_uuid, target.attempts):
                raise Refused(Code.ABORTED, Reason.VERSION_MOVED, "the occurrence has gone on")
            it.accept(target.target_uuid, answer.job_uuid, answer.made_uuid)
            await _made(unit, job.uuid, target.target_uuid, answer)

        return Order(
            action=job.action,
            field=job.target_field,
            target=target.target_uuid,
            arguments=job.arguments,
            made_by=job.acts_as,
            source=source_of(occurrence),
            request_id=derive(occurrence.uuid, target.target_uuid, str(target.attempts)),
            reason=f'scheduled job "{job.name}"',
            cause=occurrence.uuid,
            name=occurrence.name,
            answered=answered,
        )

    async def _ready(self, occurrence: SchedulerOccurrence, target: OccurrenceTarget) -> bool:
        """Whether it is still a target; if not, job and occurrence say so in one append."""

        async def look(unit: Unit) -> bool:
            it = await unit.get(SchedulerOccurrence, occurrence.uuid)
            if not it.waits_for_call(target.target_uuid, target.attempts):
                return False
            reason, words = await _objection(unit, it, target)
            if reason:
                it.end_target(target.target_uuid, TargetState.SKIPPED, reason, words)
            return not reason

        return bool((await self.cloud.decide(self._context(occurrence), look)).value)

    async def _take_refusal(self, occurrence: SchedulerOccurrence, target: OccurrenceTarget, refused: Refused) -> None:
        async def body(unit: Unit, it: SchedulerOccurrence) -> None:
            if it.waits_for_call(target.target_uuid, target.attempts):
                final = refused.code in FINAL
                await self._failed(unit, it, target, refused.reason.value, refused.message, final=final, called=True)

        await self._decide(occurrence, body)

    async def _failed(
        self, unit: Unit, it: SchedulerOccurrence, target: OccurrenceTarget, reason: str, error: str,
        *, final: bool = False, called: bool = False,
    ) -> None:  # fmt: skip
        job = await unit.find(SchedulerJob, it.scheduler_job_uuid)
        made = target.attempts + called
        if final or job is None or made > job.max_retries or it.cancel_requested:
            it.end_target(target.target_uuid, TargetState.FAILED, reason, error, called=called)
            return
        pause = min(job.retry_interval * 2 ** (made - 1), LONGEST_PAUSE)
        date = self.cloud.now() + pause * SECOND
        it.put_off(target.target_uuid, date, reason, error, called=called)

    # -- all of them

    async def _collect(self, unit: Unit, it: SchedulerOccurrence) -> None:
        """Jobs that have ended, and the end of the occurrence."""
        if it.state is not OccurrenceState.RUNNING:
            return
        for target in it.targets:
            if target.state is not TargetState.RUNNING:
                continue
            job = await unit.last(Job, target.job_uuid)
            if job is None or not job.ended:
                self._jobs[target.job_uuid] = it.uuid
            elif job.state is JobState.SUCCEEDED:
                it.end_target(target.target_uuid, TargetState.SUCCEEDED)
            elif job.state is JobState.CANCELED:
                it.end_target(target.target_uuid, TargetState.CANCELED, "CANCELED", job.error)
            else:
                await self._failed(unit, it, target, "JOB_FAILED", job.error)
        for target in it.targets:
            if target.state is TargetState.PENDING:
                heapq.heappush(self._later, (target.retry_date, it.uuid))
        await close(unit, it, self.cloud.now())

    async def _decide(
        self, occurrence: SchedulerOccurrence, body: Callable[[Unit, SchedulerOccurrence], Awaitable[Any]]
    ) -> None:
        async def whole(unit: Unit) -> None:
            it = await unit.find(SchedulerOccurrence, occurrence.uuid)
            if it is not None and not it.ended:
                await body(unit, it)

        await self.cloud.decide(self._context(occurrence), whole)

    def _context(self, occurrence: SchedulerOccurrence) -> Context:
        return context_of(occurrence.account_uuid, occurrence.scheduler_uuid, occurrence.uuid)


async def _objection(unit: Unit, it: SchedulerOccurrence, target: OccurrenceTarget) -> tuple[str, str]:
    job = await unit.find(SchedulerJob, it.scheduler_job_uuid)
    mine = next((t for t in job.targets if t.target_uuid == target.target_uuid), None) if job is not None else None
    if job is None or mine is None:
        return "NOT_A_TARGET", "it is no target of the job any more"
    if mine.state is not State.ENABLED:
        return "TARGET_DISABLED", mine.note
    return await follow(unit, job, mine)


async def _stop(unit: Unit, it: SchedulerOccurrence) -> None:
    for target in it.targets:
        if target.state is TargetState.PENDING:
            it.end_target(target.target_uuid, TargetState.CANCELED, "CANCELED", "cancelled before it was called")
        elif target.state is TargetState.RUNNING:
            job = await unit.last(Job, target.job_uuid)
            if job is not None and not job.ended and not job.cancel_requested:
                await cancel_job(unit, job)


async def _made(unit: Unit, job_uuid: str, target: str, answer: Answer) -> None:
    job = await unit.find(SchedulerJob, job_uuid)
    if job is not None and job.reserved_snapshots and answer.made_uuid:
        runs = await unit.companion(SchedulerJobRuns, job)
        made = SchedulerJobRuns.Made(resource_uuid=target, product_uuid=answer.made_uuid, product_kind=answer.made_kind)
        runs.trigger(made)


def source_of(occurrence: SchedulerOccurrence) -> str:
    """Where its calls come from."""
    return f"scheduler:{occurrence.scheduler_uuid}"


def context_of(account_uuid: str, scheduler_uuid: str, cause: str = "", reason: str = "") -> Context:
    """The scheduler, on behalf of an account (SCH-12)."""
    actor = Actor(account_uuid=account_uuid, account_name="scheduler", source=f"scheduler:{scheduler_uuid}")
    return Context(actor=actor, origin="scheduler", reason=reason, causation_id=cause, correlation_id=cause)
