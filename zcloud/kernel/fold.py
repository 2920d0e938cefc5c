"""Folding: from the records of a stream to what they amount to."""

from __future__ import annotations

from zcloud.kernel import aggregate as aggregates
from zcloud.kernel import event as events
from zcloud.kernel.aggregate import Aggregate
from zcloud.kernel.record import Record


def fold(found: Aggregate | None, record: Record, companion: type[Aggregate] | None = None) -> Aggregate:
    """Take in the next record of a stream; begins a new life where the event does."""
    event = events.decode(record.topic, record.schema, record.state)
    if found is None or event.begins:
        cls = companion or aggregates.of_topic(record.topic)
        found = cls.blank(record.resource_uuid or str(record.originator_id), record.originator_version - 1)
    found.fold(event, record.time)
    return found
