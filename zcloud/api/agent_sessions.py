"""The agents that are connected: tasks go to them by host, reports come back; the node's own agent is one of them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from google.protobuf import symbol_database
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from agents.runtime.dispatch import Dispatcher
from agents.runtime.journal import Journal
from agents.runtime.task import TaskError, Work
from zcloud.kernel import failpoint
from zcloud.kernel.keep import Turns, passes
from zcloud.kernel.runner import Report, Runner, Sending
from zcloud.kernel.workflow import NODE
from zcloud.v1.agent_pb2 import AbortTask, ConnectRequest, ConnectResponse, ReportRecorded, Task, TaskReport

log = logging.getLogger(__name__)
QUEUE = 1000
LAST_SECONDS = 2.0
LONGEST_REASON, LONGEST_ERROR = 64, 4000
RECORD_RETRY_SECONDS = 1.0
PROBE_SECONDS = 30.0
Write = Callable[[ConnectResponse], Awaitable[None]]


class AgentSession:
    """One open stream. What waits to be sent is bounded: an agent that does not read is cut off, and comes back.

    Ten thousand of them do nothing most of the time: there is a task for what is sent only while something is.
    """

    __slots__ = ("_outgoing", "_reader", "_write", "_writer", "closed", "host_uuid", "hypervisor_error", "last_heard")

    def __init__(self, host_uuid: str, write: Write, reader: asyncio.Task[Any] | None) -> None:
        """write: sends one message. reader: ends the stream when it is cancelled."""
        self.host_uuid = host_uuid
        self.hypervisor_error = ""
        # By the event loop's clock.
        self.last_heard = 0.0
        self.closed = False
        self._write = write
        self._reader = reader
        self._outgoing: deque[ConnectResponse] = deque()
        self._writer: asyncio.Task[None] | None = None

    def put(self, message: ConnectResponse) -> None:
        """Send soon."""
        if self.closed:
            return
        if len(self._outgoing) >= QUEUE:
            log.warning("host %s does not read; its session is cut off", self.host_uuid)
            self.close()
            return
        self._outgoing.append(message)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._send(), name=f"to-agent-{self.host_uuid}")

    def close(self) -> None:
        """End the stream."""
        if not self.closed:
            self.closed = True
            if self._reader is not None:
                self._reader.cancel()

    async def over(self) -> None:
        """The stream has ended: nothing is sent any more."""
        self.closed = True
        self._outgoing.clear()
        if self._writer is not None:
            # Were it cancelled, its message would still be on its way, and gRPC could not end the stream.
            await asyncio.wait({self._writer}, timeout=LAST_SECONDS)

    async def _send(self) -> None:
        try:
            while self._outgoing:
                await self._write(self._outgoing.popleft())
        except Exception as error:
            log.info("host %s: its session ends, it cannot be written to: %s", self.host_uuid, error)
            self.close()
        finally:
            self._writer = None


class AgentSessions:
    """The kernel's Transport over whatever agents are connected to this node."""

    def __init__(self, journal: Journal, handlers: list[Any]) -> None:
        self.runner: Runner | None = None
        self._sessions: dict[str, AgentSession] = {}
        self._handlers = {handler.task.DESCRIPTOR.full_name: handler for handler in handlers}
        self._journal = journal
        self._own = Dispatcher(journal, handlers, self._from_own_agent, failpoint=failpoint.hit)
        self._background: set[asyncio.Task[None]] = set()

    # -- transport

    def reaches(self, target: str) -> bool:
        return target in self._sessions

    def send(self, sending: Sending) -> None:
        """To the agent when it is there; when it connects it is sent what is pending."""
        task = task_of(sending)
        if sending.target == NODE:
            self._own.receive(task)
        elif sending.target in self._sessions:
            self._sessions[sending.target].put(ConnectResponse(task=task))

    def abort(self, target: str, task_uuid: str) -> None:
        """Best effort."""
        if target == NODE:
            self._own.abort(task_uuid)
        elif target in self._sessions:
            self._sessions[target].put(ConnectResponse(abort=AbortTask(task_uuid=task_uuid)))

    async def probe(self, args: Message) -> str:
        """Have the node's own agent look at something outside any job and journal; why that failed, or nothing."""
        handler = self._handlers[args.DESCRIPTOR.full_name]
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await handler.run(args, Work("", "", 0, lambda _percent, _detail: None))
        except TaskError as error:
            return error.message
        except TimeoutError:
            return f"no answer within {PROBE_SECONDS:.0f} s"
        return ""

    # -- sessions

    @property
    def count(self) -> int:
        """How many are connected here."""
        return len(self._sessions)

    @property
    def open(self) -> Iterable[AgentSession]:
        """All that there are now."""
        return list(self._sessions.values())

    def connected(self, host_uuid: str) -> AgentSession | None:
        """The session of a host, if it has one."""
        return self._sessions.get(host_uuid)

    def is_well(self, host_uuid: str) -> bool:
        """Whether its agent is connected, and its hypervisor answers."""
        session = self._sessions.get(host_uuid)
        return session is not None and not session.hypervisor_error

    def add(self, session: AgentSession) -> None:
        """A newer session of a host takes the place of the older, which is closed."""
        old = self._sessions.pop(session.host_uuid, None)
        if old is not None:
            old.close()
        self._sessions[session.host_uuid] = session

    def resend(self, host_uuid: str) -> None:
        """Send a host that has just connected what is pending for it."""
        assert self.runner is not None
        self.runner.agent_connected(host_uuid)

    def remove(self, session: AgentSession) -> bool:
        """Whether it was the host's newest session."""
        if self._sessions.get(session.host_uuid) is session:
            del self._sessions[session.host_uuid]
            return True
        return False

    def tell(self, message: ConnectResponse) -> None:
        """Something that every agent should know."""
        for session in self.open:
            session.put(message)

    def drop(self, host_uuid: str) -> None:
        """The host is no longer ours: end its session."""
        session = self._sessions.pop(host_uuid, None)
        if session is not None:
            session.close()

    # -- reports

    async def take(self, report: TaskReport, source: str) -> bool:
        """Record a report of a host's agent; returns when it is durable. False: nobody waits for it any more."""
        assert self.runner is not None
        sending = self.runner.sent(report.task_uuid)
        told = report_of(report, sending.args if sending else None)
        return await self.runner.on_report(report.task_uuid, told, source)

    def _from_own_agent(self, message: ConnectRequest) -> None:
        assert self.runner is not None
        if message.HasField("progress"):
            p = message.progress
            self.runner.on_progress(p.task_uuid, p.percent, p.detail, NODE)
        elif message.HasField("report"):
            task = asyncio.get_running_loop().create_task(self._take_own(message.report))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _take_own(self, report: TaskReport) -> None:
        turns = Turns(report.task_uuid, RECORD_RETRY_SECONDS)
        while True:
            try:
                await self.take(report, NODE)
            except Exception as error:
                if turns.broke(repr(error)):
                    log.exception("the report of task %s could not be recorded; trying again", report.task_uuid)
                await asyncio.sleep(turns.pause(soon=passes(error)))
                continue
            self._own.recorded(report.task_uuid)
            return

    async def close(self) -> None:
        """End every session and the node's own agent; what runs stays begun in its journal."""
        for session in self.open:
            session.close()
        await self._own.close()
        for task in self._background:
            task.cancel()
        self._journal.close()


def recorded(task_uuid: str) -> ConnectResponse:
    """Tells an agent that its report is in the log."""
    return ConnectResponse(recorded=ReportRecorded(task_uuid=task_uuid))


def task_of(sending: Sending) -> Task:
    """The message that carries a task."""
    args = AnyMessage()
    args.Pack(sending.args)
    return Task(
        task_uuid=sending.task_uuid,
        fence=sending.fence,
        resource_uuid=sending.resource_uuid,
        args=args,
        timeout_seconds=sending.timeout,
    )


def report_of(report: TaskReport, task: Message | None) -> Report:
    """The kernel's form of a report. task: what it is about; a result that is none of it is a failure."""
    if not report.succeeded:
        return Report(False, None, _text(report.error_reason, LONGEST_REASON), _text(report.error, LONGEST_ERROR))
    result = unpack(report.result)
    if task is not None:
        wanted = f"{task.DESCRIPTOR.name.removesuffix('Task')}Result"
        if result is None or result.DESCRIPTOR.name != wanted:
            told = _text(report.result.TypeName(), LONGEST_REASON) or "nothing"
            return Report(False, None, "BAD_RESULT", f"the agent answered with {told}, not with a {wanted}")
    return Report(True, result)


def unpack(value: AnyMessage) -> Message | None:
    """The message within, None when this version does not know its type, or when it is none."""
    try:
        made: Message = symbol_database.Default().GetSymbol(value.TypeName())()
        value.Unpack(made)
    except (KeyError, DecodeError):
        return None
    return made


def _text(said: str, longest: int) -> str:
    """An agent's words go into the log and onto screens."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in said[:longest])
