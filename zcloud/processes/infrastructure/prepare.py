"""What a connected host must have before it gets work: filled by the areas whose resources are attached to clusters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from zcloud.domain.infrastructure.host import Host
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step

Hook = Callable[[Unit, Host], Awaitable[None]]
SeenHook = Callable[[Unit, Host, Mapping[str, str]], Awaitable[None]]

_steps: dict[str, Step] = {}
# In the append with which a connect begins, and in the one that makes the host Connected.
ON_BEGIN: list[Hook] = []
ON_CONNECTED: list[Hook] = []
# When it has said what VMs it has: their states by uuid.
ON_SEEN: list[SeenHook] = []


def prepare(step: Step) -> Step:
    """Let every connect of a host run this step as well; steps run in the order of their names."""
    _steps[step.name] = step
    return step


def preparations() -> tuple[Step, ...]:
    """All of them; the order is the same on every node."""
    return tuple(step for _, step in sorted(_steps.items()))
