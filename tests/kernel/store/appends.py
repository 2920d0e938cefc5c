"""Small decisions to write."""

from __future__ import annotations

from collections.abc import Mapping

from zcloud.kernel.record import Append, Record, RequestRecord


def change(
    stream: str,
    base: int,
    events: int = 1,
    *,
    guards: Mapping[str, int] | None = None,
    request: str = "",
    time: int = 0,
    topic: str = "toy.Changed",
    **envelope: str,
) -> Append:
    """Some events on a stream that is at a version."""
    records = [
        Record(stream, base + n, topic, b'{"n":%d}' % n, time=time, kind="toy", resource_uuid=stream, **envelope)
        for n in range(1, events + 1)
    ]
    asked = RequestRecord("account", request, "ChangeToy", b"hash", b"answer", time) if request else None
    return Append(records, {stream: base}, dict(guards or {}), asked)
