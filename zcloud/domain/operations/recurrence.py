"""When a rule fires: the instants of an interval, a cron expression or a single date. Pure; microseconds UTC."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim

from zcloud.domain.operations.cron import parse
from zcloud.kernel.clock import SECOND

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Nothing is planned past the year 2199.
HORIZON = 7_258_118_400 * SECOND
# How far back the newest instant is looked for at first; each look goes further.
LOOKS = tuple(seconds * SECOND for seconds in (60, 3600, 86_400, 31 * 86_400, 366 * 86_400, 9 * 366 * 86_400))
MOST_COUNTED = 1000


@dataclass(frozen=True)
class Recurrence:
    """interval in seconds from start on, or cron in a time zone between start and stop, else start alone.

    stop: the last moment that may be an instant; 0 for none.
    """

    interval: int = 0
    cron: str = ""
    time_zone: str = "UTC"
    start: int = 0
    stop: int = 0


def after(rule: Recurrence, moment: int) -> Iterator[int]:
    """The instants later than a moment, in order."""
    end = min(rule.stop or HORIZON, HORIZON)
    for instant in _all(rule, max(moment, rule.start - 1)):
        if instant > end:
            return
        yield instant


def next_after(rule: Recurrence, moment: int) -> int:
    """The first instant later than a moment; 0 when there is none."""
    return next(after(rule, moment), 0)


def newest(rule: Recurrence, first: int, now: int) -> int:
    """The last instant that is neither earlier than one of them nor later than now."""
    if rule.interval:
        step = rule.interval * SECOND
        end = min(now, rule.stop or HORIZON, HORIZON)
        return first + max(0, (end - first) // step) * step
    for look in LOOKS:
        begin = max(first - 1, now - look)
        found = 0
        for instant in after(rule, begin):
            if instant > now:
                break
            found = instant
        if found or begin == first - 1:
            return max(found, first)
    return first


def count(rule: Recurrence, first: int, before: int) -> int:
    """How many instants there are from one on, before another; no more than MOST_COUNTED."""
    if rule.interval:
        return min(MOST_COUNTED, max(0, -(-(before - first) // (rule.interval * SECOND))))
    found = 0
    for instant in islice(after(rule, first - 1), MOST_COUNTED):
        if instant >= before:
            break
        found += 1
    return found


def delay(seed: str, instant: int, jitter: int) -> int:
    """By how much an instant is put off: the same on every node, from 0 to jitter seconds, in microseconds."""
    return (zlib.crc32(f"{seed} {instant}".encode()) * jitter * SECOND) >> 32


def _all(rule: Recurrence, moment: int) -> Iterator[int]:
    if rule.interval:
        step = rule.interval * SECOND
        instant = rule.start + max(0, (moment - rule.start) // step + 1) * step
        while instant <= HORIZON:
            yield instant
            instant += step
    elif rule.cron:
        yield from _cron(rule, moment)
    elif rule.start > moment:
        yield rule.start


def _cron(rule: Recurrence, moment: int) -> Iterator[int]:
    cron = parse(rule.cron)
    # The minute that is under way may have seconds left.
    begin = max(moment, -HORIZON) // (60 * SECOND) * 60 * SECOND
    last = moment
    for minute in _minutes(cron.minutes, begin, zone(rule.time_zone)):
        if minute > HORIZON:
            return
        for second in cron.seconds:
            instant = minute + second * SECOND
            # What clocks that are put forward leave out comes at one moment; what they repeat has been.
            if instant > last:
                last = instant
                yield instant


def _minutes(cron: str, begin: int, where: ZoneInfo) -> Iterator[int]:
    """From a moment on. What names hours follows the wall's clock, so that it comes once a day; the rest goes on."""
    minute, hour = cron.split()[:2]
    start = (EPOCH + timedelta(microseconds=begin - SECOND)).astimezone(where)
    if minute.startswith("*") or hour.startswith("*"):
        for found in CronSim(cron, start):
            yield (found.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
    else:
        for found in CronSim(cron, start.replace(tzinfo=None, fold=0)):
            yield (_there_is(found.replace(tzinfo=where)).astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def _there_is(wall: datetime) -> datetime:
    """A time that clocks leave out comes when they have been put forward, or just before if that is another date."""
    found = wall
    while _left_out(found):
        found += MINUTE
    if found.date() == wall.date():
        return found
    while _left_out(wall):
        wall -= MINUTE
    return wall


def _left_out(wall: datetime) -> bool:
    return wall.astimezone(UTC).astimezone(wall.tzinfo).replace(fold=0) != wall.replace(fold=0)


@lru_cache(1000)
def zone(name: str) -> ZoneInfo:
    """Raises ValueError or KeyError for one that does not exist."""
    return ZoneInfo(name)
