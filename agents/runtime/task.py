"""What a task handler is: the only thing that hosts' code has to implement."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from google.protobuf.message import Message

Args = TypeVar("Args", bound=Message)
Result = TypeVar("Result", bound=Message)


class TaskError(Exception):
    """A task could not be done; reported to the node, never raised through the runtime.

    reason: a stable word for programs: NOT_FOUND, NO_SPACE, UNREACHABLE, REFUSED, INVALID, TIMEOUT, ABORTED, FAILED
    (and, from the runtime itself, STALE_FENCE and UNKNOWN_TASK).
    message: plain words for the operator, without secrets.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Work:
    """One run of one task: who asked, how far it is, whether it should give up."""

    def __init__(self, task_uuid: str, resource_uuid: str, fence: int, report: Callable[[int, str], None]) -> None:
        self.task_uuid = task_uuid
        self.resource_uuid = resource_uuid
        self.fence = fence
        self.aborted = asyncio.Event()
        self._report = report

    def progress(self, percent: int, detail: str = "") -> None:
        """Say how far it is (0 to 100); cheap, throttled by the runtime, lost on a crash."""
        self._report(max(0, min(100, percent)), detail)

    def check(self) -> None:
        """Raise TaskError(ABORTED) when the node has asked to give up; call between parts of long work."""
        if self.aborted.is_set():
            raise TaskError("ABORTED", "given up on request")


class Handler(ABC, Generic[Args, Result]):
    """Does one kind of task. Declare it in the class header: class StartVm(Handler, task=StartVmTask, result=...)."""

    task: ClassVar[type[Message]]
    result: ClassVar[type[Message]]

    def __init_subclass__(cls, task: type[Message] | None = None, result: type[Message] | None = None, **kw: Any):
        super().__init_subclass__(**kw)
        if task is not None and result is not None:
            cls.task, cls.result = task, result

    @abstractmethod
    async def run(self, args: Args, work: Work) -> Result:
        """Make it so. Must be idempotent: the effect already being there is success.

        Cancelled when the time is up or the agent stops: return only when nothing acts any more (a thread cannot
        be cancelled: shield and await it), since the next task of this resource follows at once.
        """

    async def probe(self, args: Args) -> Result | None:
        """After a crash in the middle: the result if the world shows the whole effect, None to run again."""
        del args
        return None
