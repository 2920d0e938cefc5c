"""All that matches a filter, together with the position of the read models at which it does."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from projections.model import ReadModel
from projections.projector import progress
from projections.query.query import condition
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from projections.schema.tables import DOC, POSITION


@dataclass(frozen=True)
class Match:
    """One resource as it is shown. position: of its last event."""

    uuid: str
    document: bytes
    position: int


def matching(
    connection: Connection, model: ReadModel, models: ReadModels, filter: str, viewer: Viewer, now: int
) -> list[Match]:
    """What matches, in no order."""
    table = model.table
    statement = select(table.c.uuid, table.c[DOC], table.c[POSITION])
    found = connection.execute(statement.where(condition(model, models, filter, viewer, now)))
    return [Match(*row) for row in found]


def matching_at(
    connection: Connection, model: ReadModel, models: ReadModels, filter: str, viewer: Viewer, now: int
) -> tuple[int, list[Match]]:
    """What matches, and the position: by one statement, so that both are of one moment on every store."""
    table = model.table
    joined = progress.outerjoin(table, condition(model, models, filter, viewer, now))
    statement = select(progress.c.position, table.c.uuid, table.c[DOC], table.c[POSITION]).select_from(joined)
    rows = connection.execute(statement.where(progress.c.name == "models")).all()
    return int(rows[0][0]), [Match(*row[1:]) for row in rows if row[1] is not None]
