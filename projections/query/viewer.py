"""Who asks: the administrator sees all, an account its own resources and what is shared with it or with everyone.

Who sees a resource sees its parts: the ranges of a network that is shared.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, FromClause, exists, false, or_, true

from projections.model import ReadModel
from projections.query.aliases import alias_of
from projections.schema.registry import ReadModels
from projections.schema.tables import OWNER, PUBLIC


@dataclass(frozen=True)
class Viewer:
    """The account that a query is for."""

    account_uuid: str
    is_admin: bool = False


def visible(
    model: ReadModel, models: ReadModels, table: FromClause, viewer: Viewer, depth: int = 0
) -> ColumnElement[bool]:
    """What the viewer may see of the rows of the kind's table, or of an alias of it at a depth of subqueries."""
    if viewer.is_admin:
        return true()
    if model.admin_only or not viewer.account_uuid:
        return false()
    shares = alias_of(model.shares, depth)
    shared = exists().where(
        shares.c.kind == model.kind,
        shares.c.resource_uuid == table.c.uuid,
        shares.c.account_uuid == viewer.account_uuid,
    )
    seen = or_(table.c[OWNER] == viewer.account_uuid, table.c[PUBLIC] == 1, shared)
    if not model.part_of:
        return seen
    whole = models[model.part_of]
    rows = alias_of(whole.table, depth, "whole")
    of = rows.c.uuid == table.c[f"{whole.kind}_uuid"]
    return or_(seen, exists().where(of, visible(whole, models, rows, viewer, depth + 1)))
