"""WatchEvents: the log itself, as far as the caller may see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.json_format import ParseDict

from zcloud.api import position, rules
from zcloud.api.call import Call
from zcloud.api.handlers import stream
from zcloud.api.pipeline import data_of
from zcloud.kernel.record import Record
from zcloud.v1 import event_pb2 as pb

BATCH = 500
BOOKMARK_SECONDS = 10.0


def message_of(record: Record) -> pb.Event:
    """A record as callers see it: envelope, and the event's fields without secrets."""
    actor = record.actor
    made = pb.Event(
        position=position.encode(record.position),
        type=record.topic,
        schema_version=record.schema,
        resource_kind=record.kind,
        resource_uuid=record.resource_uuid,
        version=record.originator_version,
        account_uuid=record.owner_uuid,
        zone_uuid=record.zone_uuid,
        actor=pb.Actor(
            account_uuid=actor.account_uuid,
            account_name=actor.account_name,
            session_uuid=actor.session_uuid,
            source=actor.source,
        ),
        request_id=record.request_id,
        causation_id=record.causation_id,
        correlation_id=record.correlation_id,
        origin=record.origin,
        reason=record.reason,
        job_uuid=record.job_uuid,
    )
    made.time.FromMicroseconds(record.time)
    ParseDict(data_of(record), made.data)
    return made


def may_see(call: Call, record: Record) -> bool:
    """The admin sees all, an account what happens to its own."""
    return call.actor.is_admin or record.owner_uuid == call.actor.account_uuid


@stream("WatchEvents")
async def watch_events(call: Call, request: pb.WatchEventsRequest) -> AsyncIterator[pb.WatchEventsResponse]:
    """In order, gap-free, resumable at any position; a bookmark now and then when nothing matches."""
    rules.check(request)
    node = call.node
    cloud_log = node.cloud.log
    if request.from_position == "now":
        at = cloud_log.head
    else:
        at = position.decode(request.from_position, "from_position") if request.from_position else 0
    wanted = _filter(request)
    yield pb.WatchEventsResponse(position=position.encode(at))
    grown = node.growth.subscribe()
    try:
        while True:
            grown.clear()
            records: list[Record] = await asyncio.to_thread(node.recorder.read_all, at, BATCH)
            for record in records:
                if wanted(record) and may_see(call, record):
                    yield pb.WatchEventsResponse(event=message_of(record), position=position.encode(record.position))
            if records:
                at = records[-1].position
                continue
            try:
                async with asyncio.timeout(BOOKMARK_SECONDS):
                    await grown.wait()
            except TimeoutError:
                yield pb.WatchEventsResponse(position=position.encode(at))
    finally:
        node.growth.unsubscribe(grown)


def _filter(request: pb.WatchEventsRequest) -> Any:
    uuids, kinds, types = set(request.resource_uuids), set(request.resource_kinds), set(request.types)

    def wanted(record: Record) -> bool:
        return (
            (not uuids or record.resource_uuid in uuids)
            and (not kinds or record.kind in kinds)
            and (not types or record.topic in types)
        )

    return wanted
