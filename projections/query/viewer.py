"""Who asks: the administrator sees all, an account its own resources and what is shared with it or with everyone."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, FromClause, exists, false, or_, true

from projections.model import ReadModel
from projections.schema.tables import OWNER, PUBLIC


@dataclass(frozen=True)
class Viewer:
    """The account that a query is for."""

    account_uuid: str
    is_admin: bool = False


def visible(model: ReadModel, table: FromClause, viewer: Viewer) -> ColumnElement[bool]:
    """What the viewer may see of the rows of the kind's table, or of an alias of it."""
    if viewer.is_admin:
        return true()
    if model.admin_only or not viewer.account_uuid:
        return false()
    shares = model.shares.alias()
    shared = exists().where(
        shares.c.kind == model.kind,
        shares.c.resource_uuid == table.c.uuid,
        shares.c.account_uuid == viewer.account_uuid,
    )
    return or_(table.c[OWNER] == viewer.account_uuid, table.c[PUBLIC] == 1, shared)
