"""How big a volume is to be: by an offering or by a number, never by both (OFR-06)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.storage.disk_offering import DiskOffering
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.resource import State
from zcloud.kernel.unit import Unit

LEAST = 1 << 20


async def offered_size(unit: Unit, uuid: str) -> int:
    """The size of an offering that can be used. Raises FAILED_PRECONDITION."""
    offering = await unit.usable(DiskOffering, uuid)
    if offering.state is not State.ENABLED:
        text = f'disk offering "{offering.name}" is {offering.state.value}; enable it first'
        raise precondition(Reason.WRONG_STATE, text, state=offering.state.value)
    return offering.disk_size


async def disk_size(unit: Unit, request: Any) -> int:
    """What the fields disk_offering_uuid and disk_size of a request amount to. Raises INVALID_ARGUMENT."""
    if request.disk_offering_uuid:
        if request.disk_size:
            raise invalid("disk_size", request.disk_size, "must be absent when disk_offering_uuid is given")
        return await offered_size(unit, request.disk_offering_uuid)
    if request.disk_size < LEAST:
        text = f"must be at least {LEAST} bytes, or disk_offering_uuid be given"
        raise invalid("disk_size", request.disk_size, text)
    return int(request.disk_size)
