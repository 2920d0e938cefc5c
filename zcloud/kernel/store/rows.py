"""Records as rows of the table of events: the columns, and both ways."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from zcloud.kernel.context import Actor
from zcloud.kernel.record import Record

COLUMNS = (
    "position",
    "stream",
    "version",
    "topic",
    "state",
    "time",
    "schema",
    "kind",
    "resource_uuid",
    "owner_uuid",
    "zone_uuid",
    "actor",
    "origin",
    "request_id",
    "causation_id",
    "correlation_id",
    "reason",
    "job_uuid",
)
# The same few actors come again and again.
_encode_actor = lru_cache(4096)(msgspec.json.Encoder().encode)
_decode_actor = lru_cache(4096)(msgspec.json.Decoder(Actor).decode)


def stream_name(originator_id: UUID | str) -> str:
    """How a stream is named in the store."""
    return originator_id.hex if isinstance(originator_id, UUID) else originator_id


def row_of(r: Record) -> tuple[Any, ...]:
    """A record's values in the order of the columns."""
    return (
        r.position,
        stream_name(r.originator_id),
        r.originator_version,
        r.topic,
        r.state,
        r.time,
        r.schema,
        r.kind,
        r.resource_uuid,
        r.owner_uuid,
        r.zone_uuid,
        _encode_actor(r.actor),
        r.origin,
        r.request_id,
        r.causation_id,
        r.correlation_id,
        r.reason,
        r.job_uuid,
    )


# The fields of a record in the order of the columns.
_FIELDS = ("position", "originator_id", "originator_version", *COLUMNS[3:])
_ACTOR = COLUMNS.index("actor")


def record_of(row: Sequence[Any], id_type: type[UUID] | type[str]) -> Record:
    """The record of a row."""
    made = object.__new__(Record)
    values = made.__dict__
    values.update(zip(_FIELDS, row, strict=True))
    values["actor"] = _decode_actor(row[_ACTOR])
    if id_type is UUID:
        values["originator_id"] = UUID(row[1])
    return made
