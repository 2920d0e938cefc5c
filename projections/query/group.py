"""Counts and sums of what matches, by the values of some fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from projections.model import ReadModel
from projections.query import token
from projections.query.errors import PageTokenError, QueryError
from projections.query.order import Key, single_field
from projections.query.query import condition, page_size_of
from projections.query.viewer import Viewer
from projections.schema.fields import Field, FieldType
from projections.schema.registry import ReadModels
from projections.schema.values import INT64_MAX

MAX_FIELDS = 8
SUMMABLE = (FieldType.INTEGER, FieldType.NUMBER, FieldType.DURATION)
# Sums are made of two halves, since the stores' own overflow; Python has no largest number.
_HALF = 1 << 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Group:
    """What has the same values: their number, and their sums by field."""

    key: dict[str, Any]
    count: int
    sums: dict[str, int | float]


@dataclass(frozen=True)
class Groups:
    """One page of groups, in the order of their keys. total: all resources that match; None unless asked for."""

    groups: Sequence[Group]
    total: int | None
    next_page_token: str


def fields_of(model: ReadModel, text: str, argument: str) -> dict[str, Field]:
    """The single fields that a list of names stands for, by the names as they were written."""
    found: dict[str, Field] = {}
    for name in (part.strip() for part in text.split(",")):
        if not name:
            raise QueryError(argument, f"{argument} has an empty name; write fields with commas between them")
        field = single_field(model.root, name, name, argument, {"group_by": "group by", "sums": "sum"}[argument])
        if any(field is known for known in found.values()):
            raise QueryError(argument, f"{name} is there twice; name it once")
        found[name] = field
    if len(found) > MAX_FIELDS:
        raise QueryError(argument, f"there are {len(found)} fields in {argument}; at most {MAX_FIELDS} are taken")
    return found


def group(
    connection: Connection,
    model: ReadModel,
    models: ReadModels,
    *,
    viewer: Viewer,
    group_by: str,
    sums: str = "",
    filter: str = "",
    page_size: int = 0,
    page_token: str = "",
    count: bool = False,
    now: int | None = None,
) -> Groups:
    """One page of the groups of what matches."""
    size = page_size_of(page_size)
    by = fields_of(model, group_by, "group_by")
    summed = fields_of(model, sums, "sums") if sums.strip() else {}
    for name, field in summed.items():
        if field.type not in SUMMABLE:
            raise QueryError("sums", f"{name} is a {field.type} and has no sum; sum numbers")
    where = condition(model, models, filter, viewer, now)
    query = token.query_hash(model.kind, filter.strip(), "group", *(field.column for field in by.values()))
    begin = _begin(page_token, query)
    keys = [Key(field, model.table.c[field.column], False) for field in by.values()]
    columns = [key.column.label(f"k{n}") for n, key in enumerate(keys)]
    halves = [part for field in summed.values() for part in _halves(field, model.table.c[field.column])]
    statement = (
        select(*columns, func.count(), *halves)
        .where(where)
        .group_by(*(key.column for key in keys))
        .order_by(*(key.clause() for key in keys))
        .offset(begin)
        .limit(size + 1)
    )
    rows = connection.execute(statement).all()
    following = token.encode(query, str(begin + size), ()) if len(rows) > size else ""
    total = None
    if count:
        total = connection.execute(select(func.count()).select_from(model.table).where(where)).scalar_one()
    return Groups([_group(tuple(row), by, summed) for row in rows[:size]], total, following)


def _begin(page_token: str, query: str) -> int:
    if not page_token:
        return 0
    place, _ = token.decode(page_token, query, ())
    if not (place.isascii() and place.isdecimal() and len(place) < 12):
        raise PageTokenError("the page token belongs to a query without group_by; ask for the first page again")
    return int(place)


def _halves(field: Field, column: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    if field.type is FieldType.NUMBER:
        return [func.sum(column), func.sum(0)]
    return [func.sum(column // _HALF), func.sum(column % _HALF)]


def _group(row: tuple[Any, ...], by: dict[str, Field], summed: dict[str, Field]) -> Group:
    sums: dict[str, int | float] = {}
    for n, (name, field) in enumerate(summed.items()):
        high, low = row[len(by) + 1 + 2 * n : len(by) + 3 + 2 * n]
        if field.type is FieldType.NUMBER:
            sums[name] = float(high or 0)
        else:
            sums[name] = min(int(high or 0) * _HALF + int(low or 0), INT64_MAX)
    key = {name: _shown(field, value) for (name, field), value in zip(by.items(), row, strict=False)}
    return Group(key, row[len(by)], sums)


def _shown(field: Field, value: Any) -> Any:
    """A column's value as JSON has it."""
    if value is None:
        return None
    if field.type is FieldType.BOOLEAN:
        return bool(value)
    if field.type is FieldType.TIME:
        return (_EPOCH + timedelta(microseconds=value)).isoformat().replace("+00:00", "Z")
    if field.type is FieldType.DURATION:
        return f"{value / 1_000_000:.6f}".rstrip("0").rstrip(".") + "s"
    # JSON's numbers are exact up to here only.
    return str(value) if isinstance(value, int) and abs(value) > 1 << 53 else value
