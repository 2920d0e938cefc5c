"""Job: work that hosts must do. Its stream is the saga's log and the outbox: intent first, then sending."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.context import Actor
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource


class JobState(enum.Enum):
    """Waiting and Running go on by themselves, Stuck needs an operator, the others are final."""

    WAITING = "Waiting"
    RUNNING = "Running"
    UNDOING = "Undoing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"
    STUCK = "Stuck"


ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED)


class StepState(enum.Enum):
    """How far one step is."""

    PENDING = "Pending"
    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    UNDOING = "Undoing"
    UNDONE = "Undone"
    SKIPPED = "Skipped"


class JobStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step as callers see it; dates in microseconds."""

    name: str
    state: StepState = StepState.PENDING
    error: str = ""
    start_date: int = 0
    finish_date: int = 0


class Job(Resource, kind="job"):
    """The saga of one workflow on one resource."""

    goes_with_owner = False
    shareable = False

    state: JobState = JobState.WAITING
    workflow: str = ""
    workflow_version: int = 1
    resource_kind: str = ""
    resource_uuid: str = ""
    args: dict[str, Any] = {}  # noqa: RUF012 - replaced by folds, never changed in place
    results: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    steps: tuple[JobStep, ...] = ()
    error: str = ""
    # What all is undone for, whatever else fails while it is.
    first_error: str = ""
    finish_date: int = 0
    cancel_requested: bool = False
    rpc: str = ""
    # Who asked for it, and why: stamped on all that the job does.
    requested_by: Actor = Actor()
    reason: str = ""
    correlation_id: str = ""
    parent_job: str = ""
    index: int = 0
    undoing: bool = False
    # The task that was sent or is to be sent; empty between steps.
    task_uuid: str = ""
    target: str = ""
    # What the task is about, and what an Enforcing job has passed over: uuids.
    subject: str = ""
    passed_over: tuple[str, ...] = ()
    fence: int = 0
    deadline: int = 0

    @property
    def account_name(self) -> str:
        """Of who asked for it."""
        return self.requested_by.account_name

    @property
    def session_uuid(self) -> str:
        """Of who asked for it."""
        return self.requested_by.session_uuid

    @property
    def source(self) -> str:
        """Of who asked for it."""
        return self.requested_by.source

    @property
    def call_uuid(self) -> str:
        """The first cause of all."""
        return self.correlation_id

    class Created(Creation):
        """Accepted; it waits for its turn."""

        workflow: str
        workflow_version: int
        resource_kind: str
        resource_uuid: str
        args: dict[str, Any] = {}  # noqa: RUF012
        step_names: tuple[str, ...] = ()
        rpc: str = ""
        requested_by: Actor = Actor()
        reason: str = ""
        correlation_id: str = ""
        parent_job: str = ""
        zone_uuid: str = ""

        def apply(self, aggregate: Any) -> None:
            for name in self.__struct_fields__:
                if name != "step_names":
                    setattr(aggregate, name, getattr(self, name))
            aggregate.steps = tuple(JobStep(name) for name in self.step_names)

    class Started(Event):
        """No other job of the resource runs; this one does."""

        def apply(self, aggregate: Any) -> None:
            aggregate.state = JobState.RUNNING

    class StepDispatched(Event):
        """The intent: this task will be sent until its report is recorded. Its time is the task's fence."""

        index: int
        undo: bool = False
        task_uuid: str
        task: str
        target: str
        subject: str = ""
        deadline: int

        def apply(self, aggregate: Any) -> None:
            aggregate.index, aggregate.undoing, aggregate.subject = self.index, self.undo, self.subject
            aggregate.task_uuid, aggregate.target, aggregate.deadline = self.task_uuid, self.target, self.deadline
            aggregate.fence = aggregate.last_op_date
            aggregate.state = JobState.UNDOING if self.undo else JobState.RUNNING
            state = StepState.UNDOING if self.undo else StepState.RUNNING
            aggregate.mark(self.index, state, start=True)

    class StepDone(Event):
        """The report said that it is so."""

        index: int
        undo: bool = False
        result: dict[str, Any] = {}  # noqa: RUF012
        # The step is asked again whether anything is left to do.
        again: bool = False

        def apply(self, aggregate: Any) -> None:
            aggregate.task_uuid = ""
            if self.again:
                aggregate.index = self.index
                aggregate.mark(self.index, StepState.UNDONE if self.undo else StepState.DONE)
            elif self.undo:
                aggregate.index = self.index - 1
                aggregate.mark(self.index, StepState.UNDONE)
            else:
                aggregate.index = self.index + 1
                aggregate.results = {**aggregate.results, aggregate.steps[self.index].name: self.result}
                aggregate.mark(self.index, StepState.DONE)

    class StepSkipped(Event):
        """There was nothing to do (or an operator said to go on without it)."""

        index: int
        undo: bool = False
        reason: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.task_uuid = ""
            aggregate.index = self.index - 1 if self.undo else self.index + 1
            if self.reason:
                aggregate.mark(self.index, StepState.SKIPPED, self.reason)
                aggregate.error = aggregate.first_error or aggregate.error
                aggregate.state = JobState.UNDOING if aggregate.undoing else JobState.RUNNING
            elif not self.undo and aggregate.steps[self.index].state is not StepState.DONE:
                # A repeated step that finds nothing more was done, not skipped.
                aggregate.mark(self.index, StepState.SKIPPED)

    class PassedOver(Event):
        """One of the things that a repeated step does failed, and Enforcing goes on with the others."""

        index: int
        subject: str
        reason: str
        error: str

        def apply(self, aggregate: Any) -> None:
            aggregate.task_uuid = ""
            aggregate.passed_over = (*aggregate.passed_over, self.subject)
            before = aggregate.steps[self.index].error
            text = f"passed over {self.subject} ({self.reason}): {self.error}"
            aggregate.mark(self.index, StepState.DONE, f"{before}; {text}" if before else text)

    class StepFailed(Event):
        """The report said no, or none came in time: then what happened is unknown, and is undone all the same."""

        index: int
        reason: str
        error: str

        def apply(self, aggregate: Any) -> None:
            aggregate.task_uuid = ""
            aggregate.undoing = True
            aggregate.index = self.index
            aggregate.state = JobState.UNDOING
            aggregate.error = aggregate.first_error = self.error
            aggregate.mark(self.index, StepState.FAILED, self.error)

    class CancelRequested(Event):
        """Takes effect between steps."""

        def apply(self, aggregate: Any) -> None:
            aggregate.cancel_requested = True

    class UndoBegun(Event):
        """Cancelled between steps: what was done is undone."""

        error: str
        # Where undoing begins; in logs that do not say so, with the step before the one that would have come.
        index: int | None = None

        def apply(self, aggregate: Any) -> None:
            aggregate.error = aggregate.first_error = self.error
            aggregate.undoing = True
            aggregate.state = JobState.UNDOING
            aggregate.index = aggregate.index - 1 if self.index is None else self.index

    class GotStuck(Event):
        """An undo failed: an operator must have it tried again, or go on without it."""

        index: int
        reason: str
        error: str

        def apply(self, aggregate: Any) -> None:
            aggregate.state = JobState.STUCK
            aggregate.error = self.error
            aggregate.task_uuid = ""
            aggregate.mark(self.index, StepState.FAILED, self.error)

    class Retried(Event):
        """An operator had what failed tried again."""

        def apply(self, aggregate: Any) -> None:
            aggregate.error = aggregate.first_error or aggregate.error
            aggregate.state = JobState.UNDOING if aggregate.undoing else JobState.RUNNING

    class Finished(Event):
        """Succeeded, Failed or Canceled."""

        state: JobState
        error: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.state = self.state
            aggregate.error = self.error
            aggregate.task_uuid = ""
            aggregate.finish_date = aggregate.last_op_date

    def mark(self, index: int, state: StepState, error: str = "", *, start: bool = False) -> None:
        """Fold into one step; a job without any has none that failed."""
        if not self.steps:
            return
        old = self.steps[index]
        now = self.last_op_date
        # What was passed over stays named when the step goes on with the rest.
        cleared = state in (StepState.RUNNING, StepState.DONE) and not self.passed_over
        kept = "" if cleared else old.error
        new = JobStep(
            old.name,
            state,
            error or kept,
            old.start_date or now,
            0 if start else now,
        )
        self.steps = (*self.steps[:index], new, *self.steps[index + 1 :])

    @property
    def ended(self) -> bool:
        """Nothing will happen any more."""
        return self.state in ENDED

    @property
    def percent(self) -> int:
        """Of the steps, 0 to 100."""
        if self.state is JobState.SUCCEEDED:
            return 100
        done = sum(s.state in (StepState.DONE, StepState.SKIPPED) for s in self.steps)
        return 100 * done // max(1, len(self.steps))

    def cancel(self) -> None:
        """Ask it to stop between steps and undo; asking again is no event."""
        if self.ended:
            raise precondition(
                Reason.JOB_ENDED, f"job {self.uuid} has {self.state.value.lower()}", state=self.state.value
            )
        if not self.cancel_requested:
            self.trigger(self.CancelRequested())

    def retry(self) -> None:
        """Try the failed undo again."""
        self._must_be_stuck()
        self.trigger(self.Retried())

    def skip(self) -> None:
        """Go on without what failed; what it leaves behind is named in the step's error."""
        self._must_be_stuck()
        index = min(max(self.index, 0), len(self.steps) - 1)
        left = self.steps[index].error
        self.trigger(
            self.StepSkipped(index=index, undo=self.undoing, reason=f"skipped by an operator; left behind: {left}")
        )

    def _must_be_stuck(self) -> None:
        if self.state is not JobState.STUCK:
            raise precondition(
                Reason.WRONG_STATE, f"job {self.uuid} is {self.state.value}, not Stuck", state=self.state.value
            )


class JobQueue(Companion, of="resource", role="jobs"):
    """Who works on a resource, and who waits: one job at a time."""

    jobs: tuple[str, ...] = ()

    class Entered(Event):
        """A job took its place."""

        job_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.jobs = (*aggregate.jobs, self.job_uuid)

    class Left(Event):
        """A job has ended."""

        job_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.jobs = tuple(j for j in aggregate.jobs if j != self.job_uuid)
