"""The scheduler and its clock: what is planned after each change, and when it is done (SCH-09, SCH-10)."""

from __future__ import annotations

from typing import Any

import pytest

from zcloud.domain.operations.recurrence import HORIZON
from zcloud.domain.operations.scheduler import Scheduler, SchedulerClock, SchedulerState, SchedulerType
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Refused

NOW = 1_800_000_000 * SECOND
DAY = 86_400


def made(**rule: Any) -> tuple[Scheduler, SchedulerClock]:
    scheduler, clock = Scheduler.blank("1" * 32), SchedulerClock.blank("1" * 32)
    scheduler.create(NOW, name="s", **rule)
    clock.plan(scheduler, NOW)
    return scheduler, clock


def test_an_interval_begins_after_itself_or_at_its_start() -> None:
    assert made(interval=60)[1].next_fire_date == NOW + 60 * SECOND
    assert made(interval=60, start_time=NOW + 5)[1].next_fire_date == NOW + 5
    assert made(interval=120, start_time=NOW - 60 * SECOND)[1].next_fire_date == NOW + 60 * SECOND


def test_a_counted_one_is_completed_after_its_last_run() -> None:
    scheduler, clock = made(interval=60, repeat_count=2)
    clock.fire(scheduler, clock.next_fire_date, counts=True)
    assert (scheduler.state, clock.next_fire_date) == (SchedulerState.ENABLED, NOW + 120 * SECOND)
    clock.fire(scheduler, clock.next_fire_date, counts=False)
    clock.miss(scheduler, clock.next_fire_date, 1, NOW + 300 * SECOND)
    assert (scheduler.state, clock.fired_count, clock.missed_count) == (SchedulerState.ENABLED, 1, 1)
    clock.fire(scheduler, clock.next_fire_date, counts=True)
    assert (scheduler.state, clock.next_fire_date, clock.due_date) == (SchedulerState.COMPLETED, 0, 0)


def test_a_completed_one_goes_on_when_its_rule_leaves_something() -> None:
    scheduler, clock = made(start_time=NOW + SECOND)
    clock.fire(scheduler, NOW + SECOND, counts=True)
    assert scheduler.state is SchedulerState.COMPLETED
    with pytest.raises(Refused, match="Completed"):
        scheduler.change_state("enable")
    assert scheduler.change_rule(NOW + 2 * SECOND, cron="0 0 * * *")
    clock.plan(scheduler, NOW + 2 * SECOND)
    assert (scheduler.state, scheduler.type) == (SchedulerState.ENABLED, SchedulerType.CRON)
    assert clock.next_fire_date % (DAY * SECOND) == 0


def test_nothing_is_planned_while_it_is_paused_or_disabled() -> None:
    for change in (lambda s: s.pause("why"), lambda s: s.change_state("disable")):
        scheduler, clock = made(interval=60)
        change(scheduler)
        clock.plan(scheduler, NOW)
        assert (clock.next_fire_date, clock.due_date) == (0, 0)


def test_one_kind_of_rule_takes_the_place_of_another() -> None:
    scheduler, _ = made(interval=60)
    assert scheduler.change_rule(NOW, cron="@daily")
    assert (scheduler.interval, scheduler.cron) == (0, "@daily")
    assert scheduler.change_rule(NOW, interval=5)
    assert (scheduler.interval, scheduler.cron) == (5, "")
    assert not scheduler.change_rule(NOW, interval=5)
    with pytest.raises(Refused, match="one of them"):
        scheduler.change_rule(NOW, interval=5, cron="@daily")


def test_what_is_the_same_is_no_event() -> None:
    scheduler, clock = made(interval=60)
    before = len(scheduler.pending), len(clock.pending)
    scheduler.change_state("enable")
    scheduler.resume("again")
    clock.plan(scheduler, NOW)
    assert (len(scheduler.pending), len(clock.pending)) == before


def test_jitter_puts_off_what_is_due_and_not_what_is_planned() -> None:
    _, clock = made(interval=60, jitter=30)
    assert clock.next_fire_date == NOW + 60 * SECOND
    assert 0 <= clock.due_date - clock.next_fire_date <= 30 * SECOND


def test_a_count_that_no_time_is_left_for() -> None:
    with pytest.raises(Refused, match="at most") as error:
        made(interval=DAY, repeat_count=1_000_000)
    most = (HORIZON - NOW - DAY * SECOND) // (DAY * SECOND)
    assert str(most) in error.value.message
