"""Cron expressions: five fields as crontab has them, aliases, and the six fields of Quartz brought to the same form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cronsim.cronsim import SYMBOLIC_DAYS, CronSim, CronSimError, Field

from zcloud.kernel.errors import invalid

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FORM = 'five fields such as "30 2 * * *", six as Quartz has them such as "0 30 2 ? * MON", or one of ' + ", ".join(
    ALIASES
)

_ANY = datetime(2026, 1, 1, tzinfo=UTC)


class BadCron(ValueError):
    """What would be right."""


@dataclass(frozen=True)
class Cron:
    """minutes: five fields; seconds: of each minute that they name, in order.

    Seconds are kept apart because cronsim gives six fields no care when the clocks change.
    """

    minutes: str
    seconds: tuple[int, ...] = (0,)


@lru_cache(10_000)
def parse(text: str) -> Cron:
    """Raises BadCron."""
    words = text.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0].lower() not in ALIASES:
            raise BadCron(FORM)
        words = ALIASES[words[0].lower()].split()
    if len(words) == 7:
        raise BadCron(f"{FORM}; a seventh field for years is not taken, use start_time and stop_time")
    if len(words) not in (5, 6):
        raise BadCron(FORM)
    words = [word.upper() for word in words]
    return _known(Cron(" ".join(words)) if len(words) == 5 else _quartz(words))


def must_parse(text: str) -> Cron:
    """As parse; raises INVALID_ARGUMENT naming the field."""
    try:
        return parse(text)
    except BadCron as error:
        raise invalid("cron", text, f"must be {error}") from None


def _known(cron: Cron) -> Cron:
    """Each field by itself, so that the wrong one is named; then the whole, which may name a day that never comes."""
    for field, word in zip(list(Field)[1:], cron.minutes.split(), strict=True):
        try:
            field.parse(word)
        except (CronSimError, ValueError):
            raise BadCron(f'{FORM}; "{word}" is no {_words(field)}') from None
    try:
        CronSim(cron.minutes, _ANY)
    except CronSimError:
        raise BadCron("a date that comes: no month that it names has such a day") from None
    return cron


def _words(field: Field) -> str:
    return field.msg().removeprefix("Bad ")


def _quartz(words: list[str]) -> Cron:
    second, minute, hour, day, month, weekday = words
    if (day == "?") == (weekday == "?"):
        raise BadCron(f'{FORM}; in six fields either the day of month or the day of week is "?", not both')
    for word, field in ((minute, Field.MINUTE), (hour, Field.HOUR), (month, Field.MONTH)):
        if "?" in word:
            raise BadCron(f'{FORM}; "?" stands for no {_words(field)}')
    try:
        seconds = tuple(sorted(int(s) for s in Field.SECOND.parse(_from_zero(second)) if isinstance(s, int)))
    except (CronSimError, ValueError):
        raise BadCron(f'{FORM}; "{second}" is no {_words(Field.SECOND)}') from None
    fields = [
        _from_zero(minute),
        _from_zero(hour),
        "*" if day == "?" else day,
        month,
        "*" if weekday in ("?", "*") else _weekday(weekday),
    ]
    return Cron(" ".join(fields), seconds)


def _from_zero(word: str) -> str:
    """0/5 is */5: what begins at the first of its range goes through all of it."""
    return f"*{word[1:]}" if word.startswith("0/") and "," not in word else word


def _weekday(word: str) -> str:
    """Quartz counts from Sunday = 1; a range may go round the end of the week."""
    return ",".join(_days(part) for part in word.split(","))


def _days(part: str) -> str:
    term, slash, step_text = part.partition("/")
    step = _number(step_text, 1, 7) if slash else 1
    if term == "L":
        return "6"
    if term.endswith("L") and not slash:
        return f"{_day(term[:-1])}L"
    if "#" in term and not slash:
        day, _, nth = term.partition("#")
        return f"{_day(day)}#{_number(nth, 1, 5)}"
    begin, dash, end = term.partition("-")
    if begin == "*":
        first, last = 0, 6
    else:
        first = _day(begin)
        last = _day(end) if dash else (6 if slash else first)
    length = (last - first) % 7 + 1
    return ",".join(str((first + n) % 7) for n in range(0, length, step))


def _day(text: str) -> int:
    return SYMBOLIC_DAYS.index(text) if text in SYMBOLIC_DAYS else _number(text, 1, 7) - 1


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        raise BadCron(f'{FORM}; "{text}" is no number from {low} to {high}, as Quartz counts days (Sunday is 1)')
    return int(text)
