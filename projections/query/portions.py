"""What a viewer sees of a kind, in portions that do not overlap, each of which an index finds in a page's order.

One condition for all of it (its own, or shared with it, or with everyone) is served by no index: of a hundred thousand
rows all would be tried for the few that an account sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Boolean, ColumnElement, FromClause, Table, and_, exists, false, select, true, union_all
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from projections.model import ReadModel
from projections.query.aliases import alias_of
from projections.query.order import Key
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from projections.schema.tables import EVERYONE, ORDERS, OWNER, PUBLIC


@dataclass(frozen=True)
class Portion:
    """Rows of the kind's table, which is in `source`, where `seen` holds."""

    table: Table
    source: FromClause
    seen: ColumnElement[bool]
    # Columns of the table that an index has in order under another name.
    elsewhere: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)

    def keys(self, keys: Sequence[Key]) -> list[Key]:
        """The keys of an order, so that the index is used."""
        return [replace(key, column=self.elsewhere.get(str(key.column.key), key.column)) for key in keys]


class _common(FunctionElement[bool]):
    """A condition that holds for many rows: an index for the filter is better, where there is one.

    PostgreSQL counts; SQLite takes a condition on the first column of an index to leave ten rows.
    """

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """As it is: SQLAlchemy would compare it with 1, and no index is for that."""
        return self


@compiles(_common)
def _as_it_is(element: Any, compiler: Any, **how: Any) -> str:
    return str(compiler.process(element.clauses, **how))


@compiles(_common, "sqlite")
def _likely(element: Any, compiler: Any, **how: Any) -> str:
    return f"likelihood({compiler.process(element.clauses, **how)}, 0.1)"


def portions(model: ReadModel, models: ReadModels, viewer: Viewer) -> list[Portion]:
    """What the viewer sees of the kind: all together as visible() says, each row in one of them."""
    table = model.table
    if viewer.is_admin:
        return [Portion(table, table, true())]
    account = viewer.account_uuid
    if model.admin_only or not account:
        return [Portion(table, table, false())]
    of_others = table.c[OWNER].is_distinct_from(account)
    private = table.c[PUBLIC] == 0
    found = [
        Portion(table, table, _common(table.c[OWNER] == account)),
        _shared(model, EVERYONE, of_others),
        _shared(model, account, and_(of_others, private)),
    ]
    if model.part_of:
        whole = portions(models[model.part_of], models, viewer)
        uuids = union_all(*(select(one.table.c.uuid).select_from(one.source).where(one.seen) for one in whole))
        shares = alias_of(model.shares, 0)
        shared = exists().where(
            shares.c.kind == model.kind, shares.c.resource_uuid == table.c.uuid, shares.c.account_uuid == account
        )
        of_seen = table.c[f"{model.part_of}_uuid"].in_(uuids)
        found.append(Portion(table, table, and_(of_seen, of_others, private, ~shared)))
    return found


def _shared(model: ReadModel, account: str, seen: ColumnElement[bool]) -> Portion:
    """What is shared with an account: the rows of shares have the usual orders."""
    table, shares = model.table, model.shares
    mine = and_(_common(shares.c.account_uuid == account), shares.c.kind == model.kind)
    elsewhere = {name: shares.c[name] for name in ORDERS if name in table.c}
    source = shares.join(table, table.c.uuid == shares.c.resource_uuid)
    return Portion(table, source, and_(mine, seen), {"uuid": shares.c.resource_uuid, **elsewhere})
