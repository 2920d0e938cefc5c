"""GetHistory: what happened to one resource, and in the jobs that worked on it, with old and new values."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from google.protobuf.json_format import ParseDict
from sqlalchemy import Connection, select

from projections.audit import positions
from projections.history import Change
from zcloud.api import position, rules
from zcloud.api.call import Call
from zcloud.api.handlers import query
from zcloud.api.operations.event import may_see, message_of
from zcloud.kernel.errors import not_found
from zcloud.kernel.record import Record
from zcloud.v1 import event_pb2 as pb

PAGE = 100
# The newest jobs of a resource, whose steps are told among its own events.
JOBS = 10_000


@query("GetHistory")
async def get_history(call: Call, request: pb.GetHistoryRequest) -> pb.GetHistoryResponse:
    """All events of one resource, also of one that is gone, to its owner and the admin."""
    rules.check(request)
    node, uuid = call.node, request.resource_uuid
    after = position.decode(request.page_token, "page_token") if request.page_token else 0
    size = request.page_size or PAGE
    await node.follower.caught_up()

    def read() -> tuple[list[Record], dict[int, list[Change]], dict[str, list[str]]]:
        with node.engine.connect() as connection:
            about = [uuid, *_jobs_of(node, connection, uuid)]
            records = node.recorder.read_positions(positions(connection, about, after, size))
        changes = node.history.changes(uuid, after, records)
        return records, changes, _steps_of(node, {r.resource_uuid for r in records if r.kind == "job"})

    first = after
    while True:
        records, changes, steps = await asyncio.to_thread(read)
        seen = [r for r in records if may_see(call, r)]
        if seen or len(records) < size:
            break
        # A whole page of another owner's: a uuid may have had several lives.
        after = records[-1].position
    if not seen and not first:
        raise not_found("resource", uuid)
    more = position.encode(records[-1].position) if len(records) == size else ""
    events = [_told(record, changes.get(record.position, []), steps) for record in seen]
    return pb.GetHistoryResponse(events=events, next_page_token=more)


def _told(record: Record, changes: list[Change], steps: dict[str, list[str]]) -> pb.Event:
    event = message_of(record)
    for change in changes:
        made = event.changes.add(field=change.field)
        ParseDict(change.before, made.before)
        ParseDict(change.after, made.after)
    if record.kind == "job" and "index" in event.data:
        index, names = int(event.data["index"]), steps.get(record.resource_uuid, [])
        event.step = names[index] if 0 <= index < len(names) else ""
    return event


def _jobs_of(node: Any, connection: Connection, uuid: str) -> list[str]:
    table = node.models["job"].table
    newest = select(table.c.uuid).where(table.c.resource_uuid == uuid).order_by(table.c.create_date.desc()).limit(JOBS)
    return list(connection.execute(newest).scalars())


def _steps_of(node: Any, jobs: set[str]) -> dict[str, list[str]]:
    """The names of the steps of some jobs, from their first events."""
    found = {}
    for job in jobs:
        for record in node.recorder.read_stream(job, upto=1):
            found[job] = list(msgspec.json.decode(record.state).get("step_names", ()))
    return found
