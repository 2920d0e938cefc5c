"""What an occurrence asks of the API: one call on one target, for whoever made the job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from zcloud.kernel.context import Actor
from zcloud.kernel.unit import Unit


@dataclass(frozen=True)
class Answer:
    """What came of a call that was accepted. made: a new resource, when that is another than the target."""

    job_uuid: str = ""
    made_uuid: str = ""
    made_kind: str = ""


@dataclass(frozen=True)
class Order:
    """source: where the call comes from, for the audit. name: for what is made, where its request needs one.

    answered: takes the answer into aggregates, in the append of the call; what it raises undoes the call.
    """

    action: str
    field: str
    target: str
    arguments: str
    made_by: Actor
    source: str
    request_id: str
    reason: str
    cause: str
    name: str
    answered: Callable[[Unit, Answer], Awaitable[None]]
