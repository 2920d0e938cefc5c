"""The way to agents: what is sent, what is reported, and what a transport must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Sending:
    """A task on its way to an agent. fence: microseconds of its intent, so it grows with each of a resource."""

    task_uuid: str
    fence: int
    resource_uuid: str
    target: str
    args: Any
    timeout: int


@dataclass(frozen=True)
class Report:
    """What an agent said of a task. result: the task's result message, None when it failed."""

    succeeded: bool
    result: Any = None
    reason: str = ""
    error: str = ""


class Transport(Protocol):
    """The way to agents."""

    def reaches(self, target: str) -> bool:
        """Whether an agent on a host of this uuid has a session here."""
        ...

    def send(self, sending: Sending) -> None:
        """Send when the agent is there; sending twice is harmless."""
        ...

    def abort(self, target: str, task_uuid: str) -> None:
        """Ask the agent to give a task up."""
        ...
