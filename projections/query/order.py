"""The order of a query's answer: fields, each up or down, and the uuid at the end, so that every order is total."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, UnaryExpression, and_, column, false, or_

from projections.model import ReadModel
from projections.query.errors import QueryError, alternatives
from projections.schema.fields import Field, Group
from projections.schema.values import Value

MAX_KEYS = 8
MAX_LENGTH = 1024


@dataclass(frozen=True)
class Key:
    """One field to order by. What is absent comes first going up and last going down, as if it were smallest."""

    field: Field
    column: ColumnElement[object]
    descending: bool

    def clause(self, name: str = "") -> UnaryExpression[object]:
        """The ORDER BY clause; the stores differ in where NULL goes, so it is said where there can be one.

        Said of a primary key, it would keep PostgreSQL from using that. name: under which the column is selected.
        """
        by: ColumnElement[object] = column(name) if name else self.column
        if getattr(self.column, "primary_key", False):
            return by.desc() if self.descending else by.asc()
        return by.desc().nulls_last() if self.descending else by.asc().nulls_first()

    def same(self, value: Value) -> ColumnElement[bool]:
        """Rows with this value."""
        return self.column.is_(None) if value is None else self.column == value

    def after(self, value: Value) -> ColumnElement[bool]:
        """Rows behind those with this value."""
        if self.descending:
            return false() if value is None else or_(self.column < value, self.column.is_(None))
        return self.column.is_not(None) if value is None else self.column > value


def single_field(group: Group, path: str, whole: str, argument: str = "order_by", use: str = "order by") -> Field:
    """The single value that a path names; an error names the argument."""
    name, _, rest = path.partition(".")
    single = {m.name: m for m in group.members.values() if not m.repeated}
    known = {m.camel: m for m in single.values()} | single
    member = known.get(name)
    if member is None:
        if any(name in (m.name, m.camel) for m in group.members.values()):
            raise QueryError(argument, f"{whole} is a list; {use} a single field")
        raise QueryError(argument, f'there is no field "{whole}" to {use}; {alternatives(name, single)}')
    if isinstance(member, Group):
        if not rest:
            raise QueryError(argument, f"{whole} is no single value; {use} {whole}.{next(iter(member.members))}")
        return single_field(member, rest, whole, argument, use)
    if rest:
        raise QueryError(argument, f"{whole}: {member.name} is a {member.type} and has no fields")
    return member


def parse_order(model: ReadModel, text: str) -> list[Key]:
    """The keys that `name desc, createDate` names, and the uuid."""
    if len(text) > MAX_LENGTH:
        raise QueryError("order_by", f"order_by has {len(text)} characters; at most {MAX_LENGTH} are read")
    keys: list[Key] = []
    for item in text.split(",") if text.strip() else []:
        words = item.split()
        if not 1 <= len(words) <= 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
            raise QueryError("order_by", f'"{item.strip()}" is no order; write a field, and asc or desc behind it')
        field = single_field(model.root, words[0], words[0])
        if any(key.field is field for key in keys):
            raise QueryError("order_by", f"{words[0]} is there twice; order by it once")
        keys.append(Key(field, model.table.c[field.column], words[-1].lower() == "desc"))
    if len(keys) > MAX_KEYS:
        raise QueryError("order_by", f"there are {len(keys)} fields to order by; at most {MAX_KEYS} are taken")
    uuid = model.root.members["uuid"]
    assert isinstance(uuid, Field)
    if all(key.field is not uuid for key in keys):
        keys.append(Key(uuid, model.table.c.uuid, False))
    return keys


def behind(keys: Sequence[Key], values: Sequence[Value]) -> ColumnElement[bool]:
    """Rows behind the one with these values in the keys' order."""
    alternatives_: list[ColumnElement[bool]] = []
    for place, (key, value) in enumerate(zip(keys, values, strict=True)):
        before = [k.same(v) for k, v in zip(keys[:place], values[:place], strict=True)]
        alternatives_.append(and_(*before, key.after(value)))
    return or_(*alternatives_)


def stretches(keys: Sequence[Key], values: Sequence[Value]) -> list[ColumnElement[bool]]:
    """Rows behind the one with these values, in stretches that follow each other in the keys' order.

    Each is bounded in the first key, so that an index is entered where the last page ended: a condition with what is
    absent beside what is larger would be tried on every row from the beginning.
    """
    first, value = keys[0], values[0]
    rest = behind(keys, values)
    absent, present = first.column.is_(None), first.column.is_not(None)
    if value is None:
        return [and_(absent, rest)] if first.descending else [and_(absent, rest), present]
    if first.descending:
        return [and_(first.column <= value, rest), absent]
    return [and_(first.column >= value, rest)]


def signature(keys: Sequence[Key]) -> str:
    """The order in a form that is equal for equal orders."""
    return ",".join(f"{key.column.name}{'-' if key.descending else '+'}" for key in keys)
