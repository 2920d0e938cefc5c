"""A value as written becomes the value that the column is compared with, or an error that says what is right."""

import re
from datetime import UTC, datetime, timedelta

from projections.query.errors import FilterError, alternatives, nearest
from projections.query.tree import Literal
from projections.schema.enums import accepted_names
from projections.schema.fields import Field, FieldType
from projections.schema.values import INT64_MAX, Value

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"([+-]?)([0-9]{1,12}(?:\.[0-9]{1,9})?)(us|ms|s|m|h|d)")
_UNITS = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _wrong(name: str, literal: Literal, what: str, right: str) -> FilterError:
    return FilterError(f'"{literal.text}" is not {what}; write for example {right}', literal.position, name)


def _integer(name: str, literal: Literal) -> int:
    if not _INTEGER.fullmatch(literal.text):
        raise _wrong(name, literal, "a whole number", f"{name} > 2")
    value = int(literal.text)
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise FilterError(f"{literal.text} is out of range; numbers lie within ±{INT64_MAX}", literal.position, name)
    return value


def _number(name: str, literal: Literal) -> float:
    if not _NUMBER.fullmatch(literal.text):
        raise _wrong(name, literal, "a number", f"{name} > 2.5")
    return float(literal.text)


def _boolean(name: str, literal: Literal) -> int:
    word = literal.text.lower()
    if word not in ("true", "false"):
        raise _wrong(name, literal, "true or false", f"{name} = true")
    return int(word == "true")


def _enum(name: str, literal: Literal, field: Field) -> str:
    assert field.enum is not None
    accepted = accepted_names(field.enum)
    if literal.text in accepted:
        return accepted[literal.text]
    short = sorted(set(accepted.values()))
    raise FilterError(
        f'{name} has no value "{literal.text}"; {alternatives(literal.text, short, limit=len(short))}',
        literal.position,
        name,
        nearest(literal.text, short),
    )


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def duration_micros(text: str) -> int | None:
    """Microseconds of a duration such as 90s, 1.5h or -2d; None where the text is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    sign, amount, unit = match.groups()
    whole, _, fraction = amount.partition(".")
    value = int(whole) * _UNITS[unit] + int(fraction or 0) * _UNITS[unit] // 10 ** len(fraction)
    return -value if sign == "-" else value


def _duration(name: str, literal: Literal) -> int:
    value = duration_micros(literal.text)
    if value is None:
        raise _wrong(name, literal, "a duration", f"{name} > 90s (units us, ms, s, m, h, d)")
    return value


def _time(name: str, literal: Literal, now: int | None) -> int:
    text = literal.text
    offset = duration_micros(text)
    if offset is not None and now is not None and text[0] in "+-":
        return now + offset
    if _TIME.fullmatch(text):
        # The log keeps microseconds; finer digits would make a time that no resource has.
        trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
        try:
            return _micros(datetime.fromisoformat(trimmed) - _EPOCH)
        except (ValueError, OverflowError):
            pass
    relative = " or, from now, -24h" if now is not None else ""
    raise _wrong(name, literal, "a time with its zone", f"{name} > 2024-05-01T08:00:00Z{relative}")


def value_of(name: str, field: Field, literal: Literal, now: int | None) -> Value:
    """The literal as the column's value; `now`, microseconds, is what a time such as -24h counts from."""
    if literal.has_wildcard and field.type not in (FieldType.TEXT, FieldType.ENUM):
        raise FilterError(f"{name} is no text and has no wildcards; write a whole value", literal.position, name)
    match field.type:
        case FieldType.TEXT:
            return literal.text
        case FieldType.INTEGER:
            return _integer(name, literal)
        case FieldType.NUMBER:
            return _number(name, literal)
        case FieldType.BOOLEAN:
            return _boolean(name, literal)
        case FieldType.ENUM:
            return _enum(name, literal, field)
        case FieldType.TIME:
            return _time(name, literal, now)
        case FieldType.DURATION:
            return _duration(name, literal)
