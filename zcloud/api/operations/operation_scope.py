"""Which calls are about a resource, and which are still under way: conditions on the log of calls."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select

from projections.audit import newest
from zcloud.api.call import Call

# The newest changes of a resource that are traced back to calls; the stores bound what one statement may hold.
CHANGES = 5_000
PART = 1_000


async def scope_of(call: Call, about_uuid: str, *, ongoing: bool = False) -> ColumnElement[bool] | None:
    """None for all calls."""
    table = call.node.calls.log.model.table
    found: list[ColumnElement[bool]] = []
    if about_uuid:
        causes = await _causes(call, about_uuid)
        about = or_(table.c.resource_uuid == about_uuid, *(table.c.uuid.in_(part) for part in _parts(causes)))
        login = and_(
            table.c.name.like("LogIn%"),
            table.c.session_uuid.in_(select(table.c.session_uuid).where(about, table.c.session_uuid != "")),
        )
        found.append(or_(about, login))
    if ongoing:
        active = await call.node._active_jobs()
        found.append(or_(*(table.c.job_uuid.in_(part) for part in _parts(active))))
    return and_(*found) if found else None


def _parts(uuids: list[str]) -> list[list[str]]:
    """At least one, which may be empty: it is true of nothing."""
    return [uuids[n : n + PART] for n in range(0, max(1, len(uuids)), PART)]


async def _causes(call: Call, uuid: str) -> list[str]:
    """The first causes of what changed a resource: a call's own uuid where it was a call."""
    node: Any = call.node
    await node.follower.caught_up()

    def read() -> list[str]:
        with node.engine.connect() as connection:
            at = newest(connection, uuid, CHANGES)
        causes: dict[str, None] = {}
        for n in range(0, len(at), PART):
            for record in node.recorder.read_positions(at[n : n + PART]):
                causes[record.correlation_id] = None
        causes.pop("", None)
        return list(causes)

    return await asyncio.to_thread(read)
