"""at_time and at_position: which moment of the log a read is about."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from zcloud.api import position
from zcloud.api.call import Call
from zcloud.kernel.errors import Code, Reason, Refused, invalid
from zcloud.kernel.store import Store


@dataclass(frozen=True)
class Moment:
    """The last position that counts (0: before everything), and the time that it was then, in microseconds."""

    position: int
    time: int


async def moment_of(call: Call, request: Any) -> Moment | None:
    """What the request asks for, None for now. Raises INVALID_ARGUMENT for the future, and for garbage."""
    timed = "at_time" in request.DESCRIPTOR.fields_by_name and request.HasField("at_time")
    token = getattr(request, "at_position", "")
    if timed and token:
        text = "at_time and at_position are both given: ask for one moment"
        fields = [("at_time", text), ("at_position", text)]
        raise Refused(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, text, fields=fields, field="at_time")
    if timed:
        return await asyncio.to_thread(_at_time, call, request.at_time)
    if token:
        return await moment_at(call, token, "at_position")
    return None


def _at_time(call: Call, given: Any) -> Moment:
    store = call.node.recorder
    time = given.seconds * 1_000_000 + given.nanos // 1000
    # The log's time may be ahead of the clock's; what it says was already is not the future.
    newest = max(call.node.cloud.clock.now(), store.last_time())
    if time > newest:
        now = Timestamp()
        now.FromMicroseconds(newest)
        right = f"must not lie in the future; here it is {now.ToJsonString()}"
        raise invalid("at_time", given.ToJsonString(), right)
    return Moment(newest_at(store, time), time)


async def moment_at(call: Call, token: str, field: str) -> Moment:
    """The moment of a position that an answer gave; raises INVALID_ARGUMENT naming the field."""
    at = position.decode(token, field)

    def read() -> Moment:
        store = call.node.recorder
        if at > store.head():
            raise invalid(field, token, "must be a position that this server gave out; this one is not there yet")
        found = store.read_all(at - 1, 1) if at else []
        return Moment(at, found[0].time if found else 0)

    return await asyncio.to_thread(read)


def newest_at(store: Store, time: int) -> int:
    """Position of the newest event that is not newer than a time; time grows with position."""
    low, high = 0, store.head()
    while low < high:
        middle = (low + high + 1) // 2
        found = store.read_all(middle - 1, 1)
        if found and found[0].time <= time:
            low = middle
        else:
            high = middle - 1
    return low
