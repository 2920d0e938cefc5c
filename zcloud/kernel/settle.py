"""What follows from a decision, whatever made it: in the same append, when the body has decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from zcloud.kernel.resource import Resource

if TYPE_CHECKING:
    from zcloud.kernel.unit import Unit

# Looks at what the unit has changed, and may change more, or refuse.
Follow = Callable[["Unit"], Awaitable[None]]
_follows: list[Follow] = []


def follows(follow: Follow) -> Follow:
    """The decorated coroutine is run behind each decision; it must be quick, and read no read models."""
    _follows.append(follow)
    return follow


async def settle(unit: Unit) -> None:
    """Let everything follow that follows."""
    if any(True for _ in unit.changed()):
        for follow in _follows:
            await follow(unit)


def removed(unit: Unit) -> list[Resource]:
    """Resources that the unit has ended."""
    return [
        found
        for _, found in unit.changed()
        if isinstance(found, Resource) and not found.exists and any(event.ends for event in found.pending)
    ]
