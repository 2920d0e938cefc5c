"""Scheduler: a rule that says when jobs run. What it has planned and done is kept beside it."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.domain.operations.cron import must_parse
from zcloud.domain.operations.recurrence import HORIZON, Recurrence, delay, next_after, zone
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource

UTC = "UTC"
CATCH_UP_SECONDS = 600
# Snapshots and backups are worth making late.
COPIES_CATCH_UP_SECONDS = 86_400


class SchedulerType(enum.Enum):
    """What the rule is made of."""

    INTERVAL = "Interval"
    CRON = "Cron"
    ONE_SHOT = "OneShot"


class SchedulerState(enum.Enum):
    """Only Enabled plans anything. Completed: nothing is left to do."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PAUSED = "Paused"
    COMPLETED = "Completed"


class OverlapPolicy(enum.Enum):
    """What becomes of a run whose job is still at work on the one before."""

    SKIP = "Skip"
    BUFFER_ONE = "BufferOne"
    BUFFER_ALL = "BufferAll"
    CANCEL_OTHER = "CancelOther"
    ALLOW_ALL = "AllowAll"


class Scheduler(Resource, kind="scheduler"):
    """When. Times in microseconds, interval, jitter and catch_up_window in seconds, repeat_count 0 for no end."""

    state: SchedulerState = SchedulerState.ENABLED
    # Why it is in this state.
    note: str = ""
    type: SchedulerType = SchedulerType.INTERVAL
    interval: int = 0
    cron: str = ""
    time_zone: str = UTC
    start_time: int = 0
    stop_time: int = 0
    repeat_count: int = 0
    jitter: int = 0
    overlap_policy: OverlapPolicy = OverlapPolicy.SKIP
    catch_up_window: int = CATCH_UP_SECONDS
    # Nobody has said how long: a day for jobs that make snapshots or backups, catch_up_window for others.
    catch_up_by_job: bool = False
    pause_on_failure: bool = False

    class Created(Creation):
        """It plans from now on."""

        type: SchedulerType
        interval: int = 0
        cron: str = ""
        time_zone: str = UTC
        start_time: int = 0
        stop_time: int = 0
        repeat_count: int = 0
        jitter: int = 0
        overlap_policy: OverlapPolicy = OverlapPolicy.SKIP
        catch_up_window: int = CATCH_UP_SECONDS
        pause_on_failure: bool = False
        catch_up_by_job: bool = False

    class RuleChanged(Event):
        """Another rule, whole."""

        type: SchedulerType
        interval: int = 0
        cron: str = ""
        time_zone: str = UTC
        start_time: int = 0
        stop_time: int = 0
        repeat_count: int = 0
        jitter: int = 0
        overlap_policy: OverlapPolicy = OverlapPolicy.SKIP
        catch_up_window: int = CATCH_UP_SECONDS
        pause_on_failure: bool = False
        catch_up_by_job: bool = False

    class StateChanged(Event):
        """Enabled, disabled, paused or completed, and why."""

        state: SchedulerState
        note: str = ""

    @property
    def rule(self) -> Recurrence:
        """What its instants follow from."""
        return Recurrence(self.interval, self.cron, self.time_zone, self.start_time, self.stop_time)

    def window(self, *, copies: bool) -> int:
        """Seconds within which a run is made up for. copies: of a job that makes snapshots or backups."""
        return COPIES_CATCH_UP_SECONDS if copies and self.catch_up_by_job else self.catch_up_window

    def create(self, now: int, *, name: str, description: str = "", **rule: Any) -> None:
        """rule: the fields of Created, as far as they are given."""
        checked = check_rule(now, **rule)
        self.trigger(self.Created(name=name, description=description, account_uuid=self.account_uuid, **checked))

    def change_rule(self, now: int, **changes: Any) -> bool:
        """Whether another rule holds now; interval, cron and a single date exclude each other, so one takes over."""
        before = {name: getattr(self, name) for name in self.RuleChanged.__struct_fields__ if name != "type"}
        merged = {**before, **changes}
        if changes.get("cron") and "interval" not in changes:
            merged["interval"] = 0
        if changes.get("interval") and "cron" not in changes:
            merged["cron"] = ""
        if merged == before:
            return False
        self.trigger(self.RuleChanged(**check_rule(now, **merged)))
        return True

    def change_state(self, state_event: str) -> None:
        """enable or disable."""
        wanted = {"enable": SchedulerState.ENABLED, "disable": SchedulerState.DISABLED}[state_event]
        if self.state is wanted:
            return
        if self.state is SchedulerState.COMPLETED and wanted is SchedulerState.ENABLED:
            raise precondition(
                Reason.WRONG_STATE,
                f'scheduler "{self.name}" is Completed: nothing is left of its rule; give it a later stop_time, a '
                "greater repeat_count or another rule with UpdateScheduler",
                state=self.state.value,
            )
        self.trigger(self.StateChanged(state=wanted))

    def pause(self, note: str) -> None:
        """Nothing runs until it is resumed; what would have run in between is left out."""
        if self.state is SchedulerState.PAUSED and note == self.note:
            return
        self._must_be(SchedulerState.ENABLED, SchedulerState.PAUSED)
        self.trigger(self.StateChanged(state=SchedulerState.PAUSED, note=note))

    def resume(self, note: str) -> None:
        """From now on it plans again."""
        if self.state is SchedulerState.ENABLED:
            return
        self._must_be(SchedulerState.PAUSED)
        self.trigger(self.StateChanged(state=SchedulerState.ENABLED, note=note))

    def complete(self) -> None:
        """Nothing is left to do (SCH-10)."""
        if self.state is SchedulerState.ENABLED:
            self.trigger(self.StateChanged(state=SchedulerState.COMPLETED))

    def go_on(self) -> None:
        """Its rule was changed, and there is something to do again."""
        if self.state is SchedulerState.COMPLETED:
            self.trigger(self.StateChanged(state=SchedulerState.ENABLED))

    def _must_be(self, *states: SchedulerState) -> None:
        if self.state not in states:
            words = " or ".join(state.value for state in states)
            text = f'scheduler "{self.name}" is {self.state.value}, not {words}'
            raise precondition(Reason.WRONG_STATE, text, state=self.state.value)


class SchedulerClock(Companion, of="scheduler", role="clock"):
    """What it has planned, and how often it has fired. next_fire_date: 0 when nothing is planned."""

    next_fire_date: int = 0
    # When that is due: with its jitter.
    due_date: int = 0
    last_fire_date: int = 0
    fired_count: int = 0
    missed_count: int = 0

    class Planned(Event):
        """The rule or the state has changed."""

        next_fire_date: int
        due_date: int

    class Fired(Event):
        """The instant that was planned has come; it counts when a job was there to run."""

        planned_date: int
        next_fire_date: int
        due_date: int
        counts: bool = True

        def apply(self, aggregate: Any) -> None:
            aggregate.last_fire_date = self.planned_date
            aggregate.next_fire_date, aggregate.due_date = self.next_fire_date, self.due_date
            aggregate.fired_count += self.counts

    class Missed(Event):
        """Nobody was there at these instants, and the time to make up for them is over."""

        first_date: int
        number: int
        next_fire_date: int
        due_date: int

        def apply(self, aggregate: Any) -> None:
            aggregate.next_fire_date, aggregate.due_date = self.next_fire_date, self.due_date
            aggregate.missed_count += self.number

    def plan(self, scheduler: Scheduler, now: int) -> None:
        """By the rule as it is now; one that is done is Completed, and one that has something to do again goes on."""
        upcoming = 0
        if scheduler.state in (SchedulerState.ENABLED, SchedulerState.COMPLETED) and self.runs_left(scheduler):
            upcoming = next_after(scheduler.rule, now)
        if upcoming:
            scheduler.go_on()
        else:
            scheduler.complete()
        due = self.due(scheduler, upcoming)
        if (upcoming, due) != (self.next_fire_date, self.due_date):
            self.trigger(self.Planned(next_fire_date=upcoming, due_date=due))

    def runs_left(self, scheduler: Scheduler) -> bool:
        """Of the repeat count, with one more on the way or none."""
        return not scheduler.repeat_count or self.fired_count < scheduler.repeat_count

    def due(self, scheduler: Scheduler, instant: int) -> int:
        """With jitter."""
        return instant + delay(scheduler.uuid, instant, scheduler.jitter) if instant else 0

    def fire(self, scheduler: Scheduler, instant: int, *, counts: bool) -> None:
        """An instant has come; the next one is planned, or the scheduler is done."""
        last = scheduler.repeat_count and self.fired_count + counts >= scheduler.repeat_count
        upcoming = 0 if last else next_after(scheduler.rule, instant)
        due = self.due(scheduler, upcoming)
        self.trigger(self.Fired(planned_date=instant, next_fire_date=upcoming, due_date=due, counts=counts))
        if not upcoming:
            scheduler.complete()

    def miss(self, scheduler: Scheduler, first: int, number: int, upcoming: int) -> None:
        """upcoming: the instant to go on with; 0 when there is none."""
        due = self.due(scheduler, upcoming)
        self.trigger(self.Missed(first_date=first, number=number, next_fire_date=upcoming, due_date=due))
        if not upcoming:
            scheduler.complete()


class SchedulerAttachments(Companion, of="scheduler", role="attachments"):
    """The jobs that it runs."""

    scheduler_job_uuids: tuple[str, ...] = ()

    class JobAttached(Event):
        """It runs this job, too."""

        scheduler_job_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.scheduler_job_uuids = (*aggregate.scheduler_job_uuids, self.scheduler_job_uuid)

    class JobDetached(Event):
        """It no longer does."""

        scheduler_job_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.scheduler_job_uuids = tuple(
                uuid for uuid in aggregate.scheduler_job_uuids if uuid != self.scheduler_job_uuid
            )

    def attach(self, job_uuid: str) -> None:
        """Raises FAILED_PRECONDITION when it is attached already."""
        if job_uuid in self.scheduler_job_uuids:
            raise precondition(Reason.ALREADY_ATTACHED, f"job {job_uuid} is attached to scheduler {self.uuid} already")
        self.trigger(self.JobAttached(scheduler_job_uuid=job_uuid))

    def detach(self, job_uuid: str) -> None:
        """Raises FAILED_PRECONDITION when it is not attached."""
        if job_uuid not in self.scheduler_job_uuids:
            raise precondition(Reason.NOT_ATTACHED, f"job {job_uuid} is not attached to scheduler {self.uuid}")
        self.trigger(self.JobDetached(scheduler_job_uuid=job_uuid))


def check_rule(now: int, **given: Any) -> dict[str, Any]:
    """The rule as it is kept, with its type and its beginning; raises INVALID_ARGUMENT for one that can never fire."""
    rule = {name: value for name, value in given.items() if name != "type"}
    interval, cron, start = rule.get("interval", 0), rule.get("cron", ""), rule.get("start_time", 0)
    _check_zone(rule.get("time_zone", UTC))
    if interval and cron:
        raise invalid("cron", cron, "must be empty when interval is given: a scheduler goes by one of them")
    if not (interval or cron or start):
        raise invalid("interval", interval, "must be at least 1 second; or give cron, or start_time for a single run")
    if cron:
        must_parse(cron)
    kind = SchedulerType.INTERVAL if interval else SchedulerType.CRON if cron else SchedulerType.ONE_SHOT
    # Without a beginning an interval begins with its first pause: nothing is attached yet.
    rule["start_time"] = start or (now + interval * SECOND if interval else 0)
    _check_end(now, rule, interval)
    made = Recurrence(interval, cron, rule.get("time_zone", UTC), rule["start_time"], rule.get("stop_time", 0))
    if kind is SchedulerType.ONE_SHOT and start <= now:
        raise invalid("start_time", _date(start), "must lie in the future for a scheduler that runs once")
    if not next_after(made, now):
        field = "stop_time" if rule.get("stop_time") else "cron" if cron else "start_time"
        value = _date(rule["stop_time"]) if field == "stop_time" else cron or _date(start)
        raise invalid(field, value, "leaves no moment in the future at which it would run; choose a later one")
    if interval and rule.get("jitter", 0) > interval:
        raise invalid("jitter", rule["jitter"], f"must be at most the interval of {interval} seconds")
    return {**rule, "type": kind}


def _check_end(now: int, rule: dict[str, Any], interval: int) -> None:
    start, stop, repeat = rule["start_time"], rule.get("stop_time", 0), rule.get("repeat_count", 0)
    if start > HORIZON:
        raise invalid("start_time", _date(start), "must be before the year 2200")
    if stop and stop < start:
        raise invalid("stop_time", _date(stop), f"must not be before start_time, {_date(start)}")
    if interval and repeat and max(start, now) + interval * repeat * SECOND > HORIZON:
        most = (HORIZON - max(start, now)) // (interval * SECOND)
        raise invalid(
            "repeat_count", repeat, f"at {interval} seconds each must end before the year 2200: at most {most}"
        )


def _check_zone(name: str) -> None:
    try:
        zone(name)
    except (ValueError, KeyError, OSError):
        raise invalid("time_zone", name, "must be a name of the IANA database, such as Europe/Berlin or UTC") from None


def _date(micros: int) -> str:
    return f"{micros / SECOND:.0f} s since 1970"
