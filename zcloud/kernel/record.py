"""Records: events as they lie in the log, with the envelope that the kernel stamps once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from eventsourcing.persistence import StoredEvent

from zcloud.kernel.context import Actor


@dataclass(frozen=True)
class Record(StoredEvent):
    """A stored event with its envelope.

    originator_id is the stream, originator_version the version in it, topic the event's type, state its JSON.
    position is the global order (0 until committed), time microseconds UTC, growing with position.
    """

    position: int = 0
    time: int = 0
    schema: int = 1
    kind: str = ""
    resource_uuid: str = ""
    owner_uuid: str = ""
    zone_uuid: str = ""
    actor: Actor = field(default_factory=Actor)
    origin: str = ""
    request_id: str = ""
    causation_id: str = ""
    correlation_id: str = ""
    reason: str = ""
    job_uuid: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From all of its fields, which become its own. A frozen dataclass sets each by a call, for each event."""
        made = object.__new__(cls)
        object.__setattr__(made, "__dict__", values)
        return made

    def at(self, position: int, time: int = 0) -> Self:
        """The same, at a place in the log; time: when it is another than was given."""
        return self.of({**self.__dict__, "position": position, "time": time or self.time})


@dataclass(frozen=True)
class RequestRecord:
    """The first answer to a request id, remembered so that a retry gets the same one."""

    account_uuid: str
    request_id: str
    rpc: str
    body_hash: bytes
    response: bytes
    time: int
    position: int = 0


@dataclass
class Append:
    """What one decision writes: all of it or nothing.

    bases: version of each written stream before; guards: versions of streams that were only read; fence: partition
    and epoch by which this node sees to it, where others might.
    """

    records: list[Record]
    bases: dict[str, int]
    guards: dict[str, int] = field(default_factory=dict)
    request: RequestRecord | None = None
    fence: tuple[int, int] | None = None
