"""From a filter's tree to SQL for one kind: own fields as conditions, parts and relations as EXISTS.

Conditions are two-valued, so that NOT is what it says: a comparison with an absent value is false, and its negation
true. Negations are pushed down to the comparisons. A path through parts or relations holds when at least one of what
it reaches satisfies the comparison; NOT before it says that none does.
"""

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, exists, false, or_
from sqlalchemy.sql.elements import False_

from projections.model import ReadModel
from projections.query.aliases import alias_of
from projections.query.errors import FilterError
from projections.query.functions import contains, matches
from projections.query.literals import value_of
from projections.query.names import Scope, find
from projections.query.tree import Combined, Compare, Node, Not
from projections.query.viewer import Viewer, visible
from projections.schema.fields import Field, FieldType, Group
from projections.schema.registry import ReadModels
from projections.schema.relations import Relation, member_at

# Names in one path: each may be a subquery.
MAX_HOPS = 6

Condition = ColumnElement[bool]

_ORDERED: dict[str, Callable[[Any, Any], Condition]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNORDERED = (FieldType.ENUM, FieldType.BOOLEAN)


def operators(field_type: FieldType) -> tuple[str, ...]:
    """Operators that a field of the type can stand before."""
    return ("=", "!=", ":") if field_type in _UNORDERED else ("=", "!=", "<", "<=", ">", ">=", ":")


class Compiler:
    """Compiles filters on one kind for one viewer."""

    def __init__(self, model: ReadModel, models: ReadModels, viewer: Viewer, now: int | None = None) -> None:
        self._model = model
        self._models = models
        self._viewer = viewer
        self._now = now

    def compile(self, node: Node) -> Condition:
        """The condition on the kind's own table."""
        return self._node(node, Scope(self._model, self._model.root, self._model.table), negated=False)

    def _node(self, node: Node, scope: Scope, negated: bool) -> Condition:
        if isinstance(node, Not):
            return self._node(node.item, scope, not negated)
        if isinstance(node, Combined):
            join = and_ if (node.operator == "AND") != negated else or_
            return join(*(self._node(item, scope, negated) for item in node.items))
        if len(node.path) > MAX_HOPS:
            raise FilterError(
                f"{'.'.join(node.path)} has {len(node.path)} steps; at most {MAX_HOPS} are walked", node.position
            )
        return self._walk(node, 0, scope, negated)

    def _walk(self, node: Compare, step: int, scope: Scope, negated: bool) -> Condition:
        path = ".".join(node.path)
        position = node.position + sum(len(name) + 1 for name in node.path[:step])
        found = find(scope, self._models, node.path[step], path, position)
        last = step + 1 == len(node.path)
        if isinstance(found, Field):
            if not last:
                raise FilterError(f"{found.name} is a {found.type}; it has no {node.path[step + 1]}", position, path)
            return self._field(node, found, scope, negated)
        if isinstance(found, Group) and not found.repeated:
            if last:
                raise self._no_value(node, found.name, next(iter(found.members)), position)
            return self._walk(node, step + 1, replace(scope, group=found), negated)

        def rest(inner: Scope) -> list[Condition]:
            return [] if last else [self._walk(node, step + 1, inner, negated=False)]

        if isinstance(found, Relation) and found.leaf:
            if not last:
                raise FilterError(f"{found.name} is a text; it has no {node.path[step + 1]}", position, path)
            # tag:* asks for any; tag = * is a pattern that every tag fits, as it is for a field.
            if not (node.value.is_null or (node.operator == ":" and node.value.is_presence)):
                node, last = replace(node, path=(*node.path, found.leaf)), False
        inverted = last and self._absence(node, found, position)
        reached = self._part(found, scope, rest) if isinstance(found, Group) else self._related(found, scope, rest)
        return ~reached if negated != inverted else reached

    def _absence(self, node: Compare, found: Group | Relation, position: int) -> bool:
        """Whether the comparison of a whole part or relation asks for none; it can ask for nothing but that."""
        if node.operator == ":" and node.value.is_presence:
            return False
        if node.value.is_null and node.operator in ("=", "!="):
            return node.operator == "="
        field = "uuid" if isinstance(found, Relation) else next(iter(found.members))
        raise self._no_value(node, found.name, field, position)

    def _no_value(self, node: Compare, name: str, field: str, position: int) -> FilterError:
        path = ".".join(node.path)
        return FilterError(
            f"{name} is no single value; compare one of its fields, as {path}.{field}, "
            f"or ask {path}:* or {path} = null",
            position,
            path,
        )

    def _part(self, part: Group, scope: Scope, rest: Callable[[Scope], list[Condition]]) -> Condition:
        rows = alias_of(scope.model.sides[part.side], scope.depth + 1)
        inner = Scope(scope.model, part, rows, in_list=True, holder=part, depth=scope.depth + 1)
        return _some(rows.c.resource_uuid == scope.uuid, *rest(inner))

    def _related(self, relation: Relation, scope: Scope, rest: Callable[[Scope], list[Condition]]) -> Condition:
        target = self._models[relation.target]
        depth = scope.depth + 1
        rows = alias_of(target.table, depth)
        joins: list[Condition] = []
        holder_rows: FromClause
        near: ColumnElement[Any]
        far: ColumnElement[Any]
        if relation.reverse:
            holder_model, holder_rows, near, far = target, rows, scope.uuid, rows.c.uuid
        else:
            holder_model, holder_rows, near, far = scope.model, scope.rows, rows.c.uuid, scope.uuid
        # A list's relations are walked from its own row; a resource's from whichever table holds the reference.
        group = scope.group if not relation.reverse else holder_model.root
        part, field = member_at(group, relation.path)
        if part is None and not field.repeated:
            joins.append(holder_rows.c[field.column] == near)
        else:
            side = alias_of(holder_model.sides[part.side if part is not None else field.side], depth, "by")
            joins += [side.c[field.column] == near, side.c.resource_uuid == far]
        inner = Scope(target, target.root, rows, depth=depth)
        return _some(*joins, visible(target, self._models, rows, self._viewer, depth), *rest(inner))

    def _field(self, node: Compare, field: Field, scope: Scope, negated: bool) -> Condition:
        if not field.repeated:
            return self._leaf(node, field, scope.rows.c[field.column], negated)
        rows = alias_of(scope.model.sides[field.side], scope.depth + 1)
        here = rows.c.resource_uuid == scope.uuid
        if node.value.is_null and node.operator in ("=", "!="):
            nothing = node.operator == "="
            return ~exists().where(here) if nothing != negated else exists().where(here)
        # Membership is of whole values; a piece of one is asked for with wildcards.
        whole = replace(node, operator="=") if node.operator == ":" and not node.value.is_presence else node
        some = _some(here, self._leaf(whole, field, rows.c.value, negated=False))
        return ~some if negated else some

    def _leaf(self, node: Compare, field: Field, column: ColumnElement[Any], negated: bool) -> Condition:
        name, sign, literal = ".".join(node.path), node.operator, node.value
        if sign not in operators(field.type):
            raise FilterError(
                f"{name} is {_a(field.type)} and has no order; use {' '.join(operators(field.type))}",
                node.position,
                name,
            )
        if sign == "!=":
            sign, negated = "=", not negated
        if literal.is_null:
            if sign != "=":
                raise FilterError(
                    f"nothing is {sign} null; write {name} = null or {name} != null", literal.position, name
                )
            return column.is_not(None) if negated else column.is_(None)
        if sign == ":" and literal.is_presence:
            return column.is_(None) if negated else column.is_not(None)
        if literal.has_wildcard and field.type in (FieldType.TEXT, FieldType.ENUM):
            if sign in _ORDERED:
                raise FilterError(f"{sign} takes no wildcards; write \\* for a star", literal.position, name)
            inside = sign == ":" and field.type is FieldType.TEXT
            parts = ("", *literal.parts, "") if inside else literal.parts
            return _or_absent(matches(column, parts), column, negated)
        value = value_of(name, field, literal, self._now)
        if value == "":
            return self._empty(node, column, sign, negated)
        if sign in _ORDERED:
            return _or_absent(_ORDERED[sign](column, value), column, negated)
        if sign == ":" and field.type is FieldType.TEXT:
            return _or_absent(contains(column, str(value)), column, negated)
        return column.is_distinct_from(value) if negated else column == value

    def _empty(self, node: Compare, column: ColumnElement[Any], sign: str, negated: bool) -> Condition:
        """Empty text is absent text; nothing else can be asked of it."""
        if sign != "=":
            raise FilterError(f'nothing can be {sign} empty text; write = "" or != ""', node.value.position)
        return column.is_not(None) if negated else column.is_(None)


def _some(*conditions: Condition) -> Condition:
    """Whether a row satisfies all of the conditions; none does where one of them is false whatever the row."""
    return false() if any(isinstance(c, False_) for c in conditions) else exists().where(*conditions)


def _or_absent(condition: Condition, column: ColumnElement[Any], negated: bool) -> Condition:
    return or_(column.is_(None), ~condition) if negated else condition


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
