"""Named places where a test may make the process die, fail or wait.

ZCLOUD_FAILPOINT="commit.before:kill" arms one in a process of its own (SIGKILL, as a power cut would);
"name:kill:3" does so at the third pass.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

_armed: dict[str, Callable[[], None]] = {}


def hit(name: str) -> None:
    """Mark a place; costs one dictionary look-up when nothing is armed."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Run the action whenever the place is passed."""
    _armed[name] = action


def disarm(name: str = "") -> None:
    """Forget one, or all."""
    if name:
        _armed.pop(name, None)
    else:
        _armed.clear()


def arm_from_environment() -> None:
    """Arm what ZCLOUD_FAILPOINT names."""
    for item in filter(None, os.environ.get("ZCLOUD_FAILPOINT", "").split(",")):
        name, _, rest = item.partition(":")
        action, _, count = rest.partition(":")
        if action == "kill":
            arm(name, _killer(int(count or "1")))


def _killer(passes: int) -> Callable[[], None]:
    left = passes

    def kill() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill
