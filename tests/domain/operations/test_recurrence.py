"""When a rule fires, over every change of the clocks in two years in every zone that differs (SCH-02, SCH-09)."""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest

from zcloud.domain.operations.cron import BadCron, Cron, parse
from zcloud.domain.operations.recurrence import Recurrence, after, count, delay, newest, next_after, zone
from zcloud.kernel.clock import SECOND

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY = ("0 0 * * *", "30 0 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *", "15 3 * * *", "45 23 * * *", "@daily")
QUARTZ = ("0 30 1 * * ?", "20 15 2 ? * *", "0 0 0 * * ?")
OFTEN = ("*/20 * * * *", "0 * * * *", "30 * * * *", "0,30 1,2 * * *", "10 2,3 * * *", "0 0/30 1-3 * * ?")


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def at(text: str) -> int:
    return micros(datetime.fromisoformat(text))


def local(instant: int, name: str) -> datetime:
    return datetime.fromtimestamp(instant / SECOND, UTC).astimezone(zone(name))


@cache
def changes(name: str) -> tuple[tuple[datetime, timedelta], ...]:
    """When the clocks of a zone are changed, to the minute, and to what."""
    where = zone(name)
    found: list[tuple[datetime, timedelta]] = []
    days = [BEGIN + n * DAY for n in range((END - BEGIN).days + 1)]
    offsets = [day.astimezone(where).utcoffset() for day in days]
    for (low, before), (high, behind) in pairwise(zip(days, offsets, strict=True)):
        if before != behind:
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) // 2
                low, high = (middle, high) if middle.astimezone(where).utcoffset() == before else (low, middle)
            found.append((high.replace(second=0, microsecond=0), behind or timedelta()))
    return tuple(found)


@cache
def zones() -> tuple[str, ...]:
    """One zone of each rule: those whose clocks are changed, at which moments and to what."""
    rules: dict[tuple[tuple[datetime, timedelta], ...], str] = {}
    for name in sorted(zoneinfo.available_timezones()):
        rules.setdefault(changes(name), name)
    return tuple(name for rule, name in rules.items() if rule)


def test_zones_are_many() -> None:
    assert len(zones()) >= 20
    assert "Africa/Cairo" in zones()


def around(name: str) -> list[tuple[int, int]]:
    return [(micros(moment - 2 * DAY), micros(moment + 3 * DAY)) for moment, _ in changes(name)]


def between(rule: Recurrence, begin: int, end: int) -> list[int]:
    found = []
    for instant in after(rule, begin):
        if instant > end:
            break
        found.append(instant)
    return found


@pytest.mark.parametrize("cron", [*DAILY, *QUARTZ])
def test_a_daily_rule_fires_once_on_every_date_whatever_clocks_do(cron: str) -> None:
    for name in zones():
        for begin, end in around(name):
            dates = [local(i, name).date() for i in between(Recurrence(cron=cron, time_zone=name), begin, end)]
            first, last = local(begin, name).date(), local(end, name).date()
            inner: list[date] = [first + n * DAY for n in range(1, (last - first).days)]
            assert [d for d in dates if d in inner] == inner, (cron, name, begin)


@pytest.mark.parametrize("cron", [*DAILY, *QUARTZ, *OFTEN])
def test_the_next_instant_does_not_depend_on_where_one_starts(cron: str) -> None:
    """A node that starts anew between two instants goes on as if it had not, in the hour that comes twice, too."""
    for name in zones():
        rule = Recurrence(cron=cron, time_zone=name)
        for moment, _ in changes(name):
            begin, end = micros(moment) - 5 * 3600 * SECOND, micros(moment) + 5 * 3600 * SECOND
            whole = between(rule, begin, end)
            assert whole == sorted(set(whole))
            for start in range(begin, end, 17 * 60 * SECOND):
                upcoming = next((i for i in whole if i > start), None)
                if upcoming is not None:
                    assert next_after(rule, start) == upcoming, (cron, name, start)


def test_an_hourly_rule_fires_each_hour_that_passes() -> None:
    rule = Recurrence(cron="0 * * * *", time_zone="Europe/Berlin")
    begin, end = at("2026-10-24T22:00:00+00:00"), at("2026-10-25T22:00:00+00:00")
    assert len(between(rule, begin, end)) == 24
    assert {b - a for a, b in pairwise(between(rule, begin, end))} == {3600 * SECOND}


def test_an_interval_stays_on_its_grid() -> None:
    """Started 60 s ago with a period of 120 s, it runs in 60 s (SCH-09)."""
    rule = Recurrence(interval=120, start=at("2026-01-01T00:00:00+00:00"))
    now = at("2026-01-01T00:01:00+00:00")
    assert next_after(rule, now) == at("2026-01-01T00:02:00+00:00")
    assert next_after(rule, rule.start - 1) == rule.start
    assert next_after(rule, rule.start) == rule.start + 120 * SECOND
    assert newest(rule, rule.start, now + 3600 * SECOND) == rule.start + 3600 * SECOND
    assert count(rule, rule.start, rule.start + 3600 * SECOND) == 30


def test_stop_is_the_last_moment_that_counts() -> None:
    stop = at("2026-01-03T02:30:00+00:00")
    rule = Recurrence(cron="30 2 * * *", start=at("2026-01-02T00:00:00+00:00"), stop=stop)
    assert between(rule, 0, at("2027-01-01T00:00:00+00:00")) == [at("2026-01-02T02:30:00+00:00"), stop]
    assert newest(rule, stop - 86_400 * SECOND, stop + 400 * 86_400 * SECOND) == stop


def test_a_single_date_comes_once() -> None:
    rule = Recurrence(start=5 * SECOND)
    assert list(after(rule, 0)) == [5 * SECOND]
    assert next_after(rule, 5 * SECOND) == 0


@pytest.mark.parametrize("cron", ["* * * * *", "30 2 * * *", "0 0 29 2 *", "*/5 * * * * ?", "0 0 1 1 *"])
@pytest.mark.parametrize("days", [0, 1, 40, 1500, 5000])
def test_the_newest_instant_of_an_outage(cron: str, days: int) -> None:
    rule = Recurrence(cron=cron, time_zone="America/New_York")
    first = next_after(rule, at("2026-02-20T10:00:00+00:00"))
    now = first + days * 86_400 * SECOND + 7 * SECOND
    found = newest(rule, first, now)
    assert first <= found <= now
    assert next_after(rule, found) > now
    assert next_after(rule, found - 1) == found


@pytest.mark.parametrize(
    ("quartz", "minutes", "seconds"),
    [
        ("0 0/3 17-23 * * ?", "*/3 17-23 * * *", (0,)),
        ("15 10 12 ? * 1", "10 12 * * 0", (15,)),
        ("0 10 12 ? * SUN", "10 12 * * 0", (0,)),
        ("0 10 12 ? * 2-6", "10 12 * * 1,2,3,4,5", (0,)),
        ("0 10 12 ? * MON-FRI", "10 12 * * 1,2,3,4,5", (0,)),
        ("0 10 12 ? * FRI-MON", "10 12 * * 5,6,0,1", (0,)),
        ("0 10 12 ? * 2/2", "10 12 * * 1,3,5", (0,)),
        ("0 10 12 ? * 6L", "10 12 * * 5L", (0,)),
        ("0 10 12 ? * 6#3", "10 12 * * 5#3", (0,)),
        ("0 10 12 ? * L", "10 12 * * 6", (0,)),
        ("0 0 0 L * ?", "0 0 L * *", (0,)),
        ("0/20 * * * * ?", "* * * * *", (0, 20, 40)),
    ],
)
def test_quartz_is_translated(quartz: str, minutes: str, seconds: tuple[int, ...]) -> None:
    """Sunday is 1, and one of the two days is not said (SCH-02)."""
    assert parse(quartz) == Cron(minutes, seconds)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("61 * * * *", '"61" is no minute'),
        ("* 24 * * *", '"24" is no hour'),
        ("0 0 31 2 *", "a date that comes"),
        ("0 0 0 30 2 ?", "a date that comes"),
        ("0 0 ? * MON", '"?" is no day-of-month'),
        ("0 0 0 * * *", 'is "?"'),
        ("0 0 0 ? * ?", "not both"),
        ("0 0 0 1 1 ? 2027", "stop_time"),
        ("0 ? 0 * * ?", "stands for no minute"),
        ("60 0 0 * * ?", '"60" is no second'),
        ("0 0 0 ? * 0", "Sunday is 1"),
        ("0 0 0 ? * 8", "Sunday is 1"),
        ("@fortnightly", "@daily"),
        ("*/0 * * * *", '"*/0" is no minute'),
    ],
)
def test_what_is_no_expression_is_told_what_would_be(text: str, says: str) -> None:
    with pytest.raises(BadCron, match=re.escape(says)):
        parse(text)


def test_jitter_is_the_same_each_time_and_spreads() -> None:
    found = [delay(f"{n:032x}", 0, 60) for n in range(1000)]
    assert found == [delay(f"{n:032x}", 0, 60) for n in range(1000)]
    assert 0 <= min(found) < 2 * SECOND
    assert 58 * SECOND < max(found) < 60 * SECOND
    assert delay("any", 0, 0) == 0
