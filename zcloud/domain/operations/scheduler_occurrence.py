"""Occurrence: one run of one job for one planned instant; what came of it for each target."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import msgspec

from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource


class Trigger(enum.Enum):
    """Why it runs: its time has come, somebody wanted it now, or somebody made up for the past."""

    SCHEDULE = "Schedule"
    NOW = "Now"
    BACKFILL = "Backfill"


class OccurrenceState(enum.Enum):
    """Waiting and Running go on, the others are final."""

    WAITING = "Waiting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    MISSED = "Missed"
    CANCELED = "Canceled"


class TargetState(enum.Enum):
    """Pending: to be called, perhaps again. Running: a job is at work."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELED = "Canceled"


GOING = (OccurrenceState.WAITING, OccurrenceState.RUNNING)
OPEN = (TargetState.PENDING, TargetState.RUNNING)


class OccurrenceTarget(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target. attempts: calls that were made; retry_date: not before then; made_uuid: what the call made."""

    target_uuid: str
    state: TargetState = TargetState.PENDING
    attempts: int = 0
    retry_date: int = 0
    job_uuid: str = ""
    made_uuid: str = ""
    reason: str = ""
    error: str = ""
    finish_date: int = 0


class SchedulerOccurrence(Resource, kind="scheduler_occurrence"):
    """Its uuid follows from scheduler, job, planned instant and trigger, so that there is one, whoever opens it."""

    goes_with_owner = False

    state: OccurrenceState = OccurrenceState.WAITING
    trigger_type: Trigger = Trigger.SCHEDULE
    scheduler_uuid: str = ""
    scheduler_job_uuid: str = ""
    action: str = ""
    planned_date: int = 0
    start_date: int = 0
    finish_date: int = 0
    # Of missed ones: how many instants this stands for.
    missed_count: int = 0
    reason: str = ""
    error: str = ""
    cancel_requested: bool = False
    targets: tuple[OccurrenceTarget, ...] = ()

    class Created(Creation):
        """Its instant has come."""

        trigger_type: Trigger
        scheduler_uuid: str
        scheduler_job_uuid: str
        action: str
        planned_date: int
        resource_uuids: tuple[str, ...] = ()

        def apply(self, aggregate: Any) -> None:
            for name in self.__struct_fields__:
                if name != "resource_uuids":
                    setattr(aggregate, name, getattr(self, name))
            aggregate.targets = tuple(OccurrenceTarget(uuid) for uuid in self.resource_uuids)

    class Started(Event):
        """Its targets are called."""

        def apply(self, aggregate: Any) -> None:
            aggregate.state = OccurrenceState.RUNNING
            aggregate.start_date = aggregate.last_op_date

    class Accepted(Event):
        """The call on a target was accepted; written with what the call itself has written."""

        resource_uuid: str
        job_uuid: str = ""
        made_uuid: str = ""

        def apply(self, aggregate: Any) -> None:
            going = bool(self.job_uuid)
            aggregate.put(
                self.resource_uuid,
                state=TargetState.RUNNING if going else TargetState.SUCCEEDED,
                attempts=1,
                job_uuid=self.job_uuid,
                made_uuid=self.made_uuid,
                reason="",
                error="",
                finish_date=0 if going else aggregate.last_op_date,
            )

    class PutOff(Event):
        """The call was refused, or its job failed; it is tried again at the retry date, the pauses growing."""

        resource_uuid: str
        retry_date: int
        reason: str
        error: str = ""
        # Whether a call was made that was not counted before.
        called: bool = False

        def apply(self, aggregate: Any) -> None:
            aggregate.put(
                self.resource_uuid,
                state=TargetState.PENDING,
                attempts=int(self.called),
                retry_date=self.retry_date,
                reason=self.reason,
                error=self.error,
            )

    class TargetEnded(Event):
        """Nothing more is done for this target."""

        resource_uuid: str
        state: TargetState
        reason: str = ""
        error: str = ""
        called: bool = False

        def apply(self, aggregate: Any) -> None:
            aggregate.put(
                self.resource_uuid,
                state=self.state,
                attempts=int(self.called),
                reason=self.reason,
                error=self.error,
                finish_date=aggregate.last_op_date,
            )

    class CancelRequested(Event):
        """What is not yet called is not called, and jobs are asked to stop."""

        def apply(self, aggregate: Any) -> None:
            aggregate.cancel_requested = True

    class Ended(Event):
        """Succeeded, Failed, Skipped, Missed or Canceled."""

        state: OccurrenceState
        reason: str = ""
        error: str = ""
        missed_count: int = 0

        def apply(self, aggregate: Any) -> None:
            aggregate.state, aggregate.reason, aggregate.error = self.state, self.reason, self.error
            aggregate.missed_count = self.missed_count
            aggregate.finish_date = aggregate.last_op_date

    @staticmethod
    def uuids_of(scheduler_uuid: str, job_uuid: str, planned: int, trigger: Trigger) -> Derived:
        """The same whoever opens it, and however often."""
        return derived("occurrence", scheduler_uuid, job_uuid, str(planned), trigger.value)

    def put(self, resource_uuid: str, *, attempts: int, **changes: Any) -> None:
        """Fold into one target; attempts are added."""
        self.targets = tuple(
            msgspec.structs.replace(t, attempts=t.attempts + attempts, **changes)
            if t.target_uuid == resource_uuid
            else t
            for t in self.targets
        )

    @property
    def ended(self) -> bool:
        """Nothing will happen any more."""
        return self.state not in GOING

    def target(self, resource_uuid: str) -> OccurrenceTarget:
        """Raises KeyError."""
        found = next((t for t in self.targets if t.target_uuid == resource_uuid), None)
        if found is None:
            raise KeyError(resource_uuid)
        return found

    def waits_for_call(self, resource_uuid: str, attempts: int) -> bool:
        """Whether this very attempt is still to be made."""
        target = self.target(resource_uuid)
        running = self.state is OccurrenceState.RUNNING and not self.cancel_requested
        return running and target.state is TargetState.PENDING and target.attempts == attempts

    def create(self, *, name: str, resource_uuids: Iterable[str], **order: Any) -> None:
        """order: the fields of Created."""
        self.trigger(
            self.Created(name=name, account_uuid=self.account_uuid, resource_uuids=tuple(resource_uuids), **order)
        )

    def start(self) -> None:
        """The job is free."""
        self.trigger(self.Started())

    def end(self, state: OccurrenceState, reason: str = "", error: str = "", missed_count: int = 0) -> None:
        """For ever."""
        self.trigger(self.Ended(state=state, reason=reason, error=error, missed_count=missed_count))

    def accept(self, resource_uuid: str, job_uuid: str, made_uuid: str) -> None:
        """The call was accepted."""
        self.trigger(self.Accepted(resource_uuid=resource_uuid, job_uuid=job_uuid, made_uuid=made_uuid))

    def end_target(
        self, resource_uuid: str, state: TargetState, reason: str = "", error: str = "", *, called: bool = False
    ) -> None:
        """Of one that is open."""
        if self.target(resource_uuid).state in OPEN:
            self.trigger(
                self.TargetEnded(resource_uuid=resource_uuid, state=state, reason=reason, error=error, called=called)
            )

    def put_off(self, resource_uuid: str, retry_date: int, reason: str, error: str, *, called: bool) -> None:
        """Try again then."""
        self.trigger(
            self.PutOff(resource_uuid=resource_uuid, retry_date=retry_date, reason=reason, error=error, called=called)
        )

    def request_cancel(self) -> None:
        """Asking again is no event."""
        if self.ended:
            text = f"occurrence {self.uuid} has ended: it is {self.state.value}"
            raise precondition(Reason.JOB_ENDED, text, state=self.state.value)
        if not self.cancel_requested:
            self.trigger(self.CancelRequested())

    def outcome(self) -> tuple[OccurrenceState, str, str]:
        """State, reason and words, from what came of the targets."""
        failed = [t for t in self.targets if t.state is TargetState.FAILED]
        states = {t.state for t in self.targets}
        if failed:
            words = f"{len(failed)} of {len(self.targets)} targets failed: {failed[0].error}"
            return OccurrenceState.FAILED, failed[0].reason, words
        if TargetState.CANCELED in states:
            return OccurrenceState.CANCELED, "CANCELED", "cancelled on request"
        if states <= {TargetState.SKIPPED}:
            first = self.targets[0] if self.targets else None
            return OccurrenceState.SKIPPED, first.reason if first else "NO_TARGETS", first.error if first else ""
        return OccurrenceState.SUCCEEDED, "", ""
