"""Tasks in, reports out: each task acts once however often it is sent, in order per resource."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from agents.runtime.journal import Entry, Journal, args_hash
from agents.runtime.outcome import arguments, failed, perform
from agents.runtime.progress import Progress
from agents.runtime.redact import redact
from agents.runtime.task import Handler, TaskError, Work
from zcloud.v1.agent_pb2 import ConnectRequest, Task, TaskReport

log = logging.getLogger(__name__)

Send = Callable[[ConnectRequest], None]

# Where a test may let the agent die; each is passed once per task, in this order.
FAILPOINTS = ("task.before_begun", "task.after_begun", "task.after_effect", "task.before_report")


def _pass(name: str) -> None:
    """The failpoint of a life without tests."""


@dataclass
class _Run:
    """A task that waits for its turn or is being done."""

    task: Task
    args: Message | None
    # In an earlier life of the agent, which did not finish it.
    begun: bool
    # Decided without the handler: stale, unknown or unreadable.
    refusal: TaskError | None
    progress: Progress
    work: Work


@dataclass
class _Lane:
    """The tasks of one resource, one at a time in the order in which they came."""

    fence: int
    runs: deque[_Run] = field(default_factory=deque)


class Dispatcher:
    """Acts on tasks for a host, or for the node itself; knows nothing of the connection they come by.

    send must neither block nor fail for good: a report that it loses is among unacknowledged().
    All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        journal: Journal,
        handlers: Iterable[Handler[Any, Any]],
        send: Send,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        failpoint: Callable[[str], None] = _pass,
        progress_interval: float = 1.0,
    ) -> None:
        self._journal = journal
        self._handlers: dict[str, Handler[Any, Any]] = {}
        for handler in handlers:
            name = handler.task.DESCRIPTOR.full_name
            if name in self._handlers:
                raise ValueError(f"two handlers for {name}: {self._handlers[name]!r} and {handler!r}")
            self._handlers[name] = handler
        self._sink = send
        self._clock = clock
        self._sleep = sleep
        self._failpoint = failpoint
        self._progress_interval = progress_interval
        self._runs: dict[str, _Run] = {}
        self._lanes: dict[str, _Lane] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._closed = False

    def receive(self, task: Task) -> None:
        """Take a task, new or sent again; its report goes to send."""
        if self._closed or not task.task_uuid:
            return
        entry = self._journal.find(task.task_uuid)
        if entry is not None and entry.args_hash != args_hash(task):
            # The first outcome stands: a password changed between two sends is no other task.
            log.warning("task %s was sent again with other arguments", task.task_uuid)
        if task.task_uuid in self._runs:
            return
        if entry is not None and entry.report is not None:
            self._send(ConnectRequest(report=entry.report))
            return
        self._enqueue(task, entry)

    def abort(self, task_uuid: str) -> None:
        """Ask a task to give up; what it had done already is its report's to tell."""
        run = self._runs.get(task_uuid)
        if run is not None:
            run.work.aborted.set()

    def recorded(self, task_uuid: str) -> None:
        """The node has the report; it is not sent again unless the task is."""
        self._journal.acknowledge(task_uuid)

    def unacknowledged(self) -> list[TaskReport]:
        """Reports to send again, oldest first."""
        return self._journal.unacknowledged()

    async def idle(self) -> None:
        """Return when no task runs or waits; raises what broke a lane, if anything did."""
        while self._workers:
            await asyncio.wait(self._workers)
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Stop. Tasks that run stay begun in the journal; their probe settles them at the next start."""
        self._closed = True
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers)

    def _enqueue(self, task: Task, entry: Entry | None) -> None:
        # Without a resource there is nothing to be in order with.
        key = task.resource_uuid or task.task_uuid
        run = self._new_run(task, entry is not None, self._seen(key))
        if run.refusal is not None:
            # It touches nothing, so it waits for nobody: the task that runs may take hours.
            key = f"refusal of {task.task_uuid}"
        self._runs[task.task_uuid] = run
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(task.fence)
            worker = asyncio.create_task(self._serve(key, lane), name=f"tasks of {key}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        lane.fence = max(lane.fence, task.fence)
        lane.runs.append(run)

    def _seen(self, key: str) -> int:
        """The greatest fence of a resource: of what waits, and of what the journal knows."""
        lane = self._lanes.get(key)
        return max(lane.fence if lane else 0, self._journal.max_fence(key))

    def _new_run(self, task: Task, begun: bool, seen: int) -> _Run:
        args: Message | None = None
        refusal: TaskError | None = None
        try:
            args = self._admit(task, seen)
        except TaskError as error:
            refusal = error
        progress = Progress(task.task_uuid, self._send, self._clock, self._progress_interval)

        def report(percent: int, detail: str) -> None:
            progress.update(percent, redact(detail, args))

        work = Work(task.task_uuid, task.resource_uuid, task.fence, report)
        return _Run(task, args, begun, refusal, progress, work)

    def _admit(self, task: Task, seen: int) -> Message:
        handler = self._handlers.get(task.args.TypeName())
        if handler is None:
            name = task.args.TypeName() or "a task without arguments"
            raise TaskError("UNKNOWN_TASK", f"this agent does not know how to do {name}; upgrade the agent")
        if task.resource_uuid and task.fence < seen:
            raise TaskError(
                "STALE_FENCE",
                f"fence {task.fence} of {task.resource_uuid} is older than {seen}, which was seen already",
            )
        return arguments(handler, task)

    async def _serve(self, key: str, lane: _Lane) -> None:
        try:
            while lane.runs and not self._closed:
                run = lane.runs[0]
                try:
                    await self._do(run)
                finally:
                    run.progress.close()
                lane.runs.popleft()
                del self._runs[run.task.task_uuid]
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # A fault of the runtime itself. What the journal says of these tasks decides when they are sent again.
            self._failure = error
            log.critical("tasks of %s were dropped by %r and wait to be sent again", key, error)
        finally:
            for left in lane.runs:
                self._runs.pop(left.task.task_uuid, None)
            del self._lanes[key]

    async def _do(self, run: _Run) -> None:
        task = run.task
        if run.refusal is not None or run.args is None:
            refusal = run.refusal or TaskError("INVALID", "no arguments")
            report = failed(task, refusal.reason, refusal.message)
        else:
            if not run.begun:
                self._failpoint("task.before_begun")
                await self._durably(run, lambda: self._journal.begin(task))
            self._failpoint("task.after_begun")
            report = await perform(self._handlers[task.args.TypeName()], run.args, task, run.work, run.begun)
            self._failpoint("task.after_effect")
            if self._closed and not report.succeeded:
                # Broken off by close(), not by the world: the next life probes.
                return
        await self._durably(run, lambda: self._journal.finish(task, report))
        self._failpoint("task.before_report")
        run.progress.close()
        self._send(ConnectRequest(report=report))

    async def _durably(self, run: _Run, write: Callable[[], None]) -> None:
        """Write to the journal, for as long as it takes: a full disk delays a task and fails none."""
        delay = 0.1
        while True:
            try:
                write()
            except sqlite3.OperationalError as error:
                log.error("task %s waits: the journal cannot be written: %s", run.task.task_uuid, error)
                run.work.progress(0, f"waits: the agent's journal cannot be written: {error}")
            else:
                return
            await self._sleep(delay)
            delay = min(10.0, delay * 2)

    def _send(self, message: ConnectRequest) -> None:
        try:
            self._sink(message)
        except Exception as error:
            log.error("a message to the node was lost and will be sent again if it was a report: %s", error)
