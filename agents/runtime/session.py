"""The agent's end of the stream: dials the node, keeps the stream alive, and comes back after every loss."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc

from agents.runtime.channel import DIAL_SECONDS, Doors, answers
from agents.runtime.dispatch import Dispatcher
from agents.runtime.outbox import Outbox
from agents.runtime.renewal import Renewal
from zcloud.v1.agent_pb2 import ConnectRequest, ConnectResponse, Heartbeat, Hello, HostInventory
from zcloud.v1.agent_pb2_grpc import AgentServiceStub

log = logging.getLogger(__name__)

VERSION = "0.1.0"
BACKOFF_FIRST, BACKOFF_LAST = 0.2, 30.0
# Where nobody listens it costs nobody anything to be asked again, and who starts again is waited for.
BACKOFF_NOBODY = 4.0
# A machine without a listener says so at once; a node that is overrun is silent for longer.
PROMPT_SECONDS = 1.0
WELCOME_PATIENCE = 30.0
# A node that is overrun by handshakes gets to each in time if none is given up: an agent that heard nothing is more
# patient at its next attempts, up to so many times.
MORE_PATIENT = 8
# A complete inventory goes up this often, so that drift is seen even when an event was lost.
INVENTORY_SECONDS = 300.0
HEARTBEAT_DEFAULT = 10
END = grpc.aio.EOF  # type: ignore[attr-defined]


class ConnectionLost(Exception):
    """The stream ended; says why."""


def backoff(attempt: int, chance: Callable[[], float] = random.random, last: float = BACKOFF_LAST) -> float:
    """Seconds to wait before the next attempt, full jitter: a thousand agents must not come back as one."""
    longest: float = min(last, BACKOFF_FIRST * 2 ** min(attempt, 16))
    return chance() * longest


class Session:
    """Holds one stream for one host for as long as it is run.

    inventory: what is really there. hypervisor_error: empty while the hypervisor answers; must not block.
    changes: partial inventories of what has just changed.
    """

    def __init__(
        self,
        host_uuid: str,
        channel: grpc.aio.Channel | Doors,
        dispatcher: Dispatcher,
        outbox: Outbox,
        inventory: Callable[[], Awaitable[HostInventory]],
        hypervisor_error: Callable[[], str],
        changes: asyncio.Queue[HostInventory] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        incarnation: str = "",
        renewal: Renewal | None = None,
    ) -> None:
        self._host_uuid = host_uuid
        self._channel = channel
        self._turn = 0
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._inventory = inventory
        self._hypervisor_error = hypervisor_error
        self._changes = changes
        self._sleep = sleep
        self._chance = chance
        self._incarnation = incarnation or uuid.uuid4().hex
        self._renewal = renewal
        # Changes since the last look began; as many as there can be changes worth telling.
        self._meanwhile: deque[HostInventory] = deque(maxlen=1000)
        self._attempt = 0
        self._last = BACKOFF_LAST
        self._welcomed = False
        self._patience = 1
        self._heartbeat_seconds = HEARTBEAT_DEFAULT
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        pump = asyncio.create_task(self._pump_changes()) if self._changes is not None else None
        try:
            while True:
                reason = await self._tried()
                if self._renewal is not None and (ended := self._renewal.ended()):
                    reason = f"{reason}; {ended}"
                delay = backoff(self._attempt, self._chance, self._last)
                self._attempt += 1
                self._turn += 1
                log.warning("host %s: no session (%s); next try in %.1f s", self._host_uuid, reason, delay)
                await self._sleep(delay)
        finally:
            if pump is not None:
                pump.cancel()

    async def _tried(self) -> str:
        """Whatever breaks an attempt, there is another: an agent that gave up would be a host that is lost."""
        try:
            return await self._connect_once()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return "the stream was cancelled"  # by gRPC, and nobody here wanted it
        except Exception as error:
            log.exception("host %s: the session could not be begun", self._host_uuid)
            return repr(error)

    async def _connect_once(self) -> str:
        """One stream from dialling to loss; why it was lost."""
        self._last, self._welcomed = BACKOFF_LAST, False
        if not isinstance(self._channel, Doors):
            return await self._hold(self._channel)
        began = asyncio.get_running_loop().time()
        async with self._channel.dial(self._turn, DIAL_SECONDS * self._patience) as channel:
            reason = await self._hold(channel)
            if not answers(channel):
                self._unanswered(asyncio.get_running_loop().time() - began)
        return reason

    def _unanswered(self, seconds: float) -> None:
        """The connection is gone, and not only the stream: it is not that the node will not have this agent."""
        if self._welcomed:
            self._attempt = 0
        if self._welcomed or seconds < PROMPT_SECONDS:
            self._last, self._patience = BACKOFF_NOBODY, 1
        else:
            self._patience = min(MORE_PATIENT, self._patience * 2)

    async def _hold(self, channel: grpc.aio.Channel) -> str:
        call = AgentServiceStub(channel).Connect()  # type: ignore[no-untyped-call]
        try:
            await self._greet(call)
            await self._converse(call)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except (ConnectionLost, asyncio.InvalidStateError) as error:
            return str(error)
        except Exception as error:
            # A message that breaks the agent must not end it: the node sends it again, or not.
            log.exception("host %s: the session broke", self._host_uuid)
            return repr(error)
        finally:
            self.connected.clear()
            self._outbox.close()
            call.cancel()
        return "closed"

    async def _greet(self, call: Any) -> None:
        reports = self._dispatcher.unacknowledged()
        hello = Hello(
            host_uuid=self._host_uuid,
            agent_version=VERSION,
            incarnation=self._incarnation,
            unacknowledged_reports=len(reports),
        )
        patience = WELCOME_PATIENCE * self._patience
        try:
            async with asyncio.timeout(patience):
                await call.write(ConnectRequest(hello=hello))
                answer = await call.read()
        except TimeoutError:
            raise ConnectionLost(f"no welcome within {patience:.0f} s") from None
        if answer is END or answer.WhichOneof("message") != "welcome":
            raise ConnectionLost("the node did not welcome this host")
        self._heartbeat_seconds = answer.welcome.heartbeat_seconds or HEARTBEAT_DEFAULT
        self._learn(answer.welcome.endpoints)
        self._welcomed = True
        self._outbox.open()
        self._resend(None)
        self.connected.set()
        log.info("host %s: session with the node is open", self._host_uuid)

    def _learn(self, endpoints: Iterable[str]) -> None:
        if isinstance(self._channel, Doors):
            self._channel.learn(endpoints)

    async def _converse(self, call: Any) -> None:
        parts = [
            asyncio.create_task(part)
            for part in (self._read(call), self._write(call), self._beat(), self._report_inventory())
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _read(self, call: Any) -> None:
        while True:
            message: ConnectResponse = await call.read()
            if message is END:
                raise ConnectionLost("the node closed the stream")
            kind = message.WhichOneof("message")
            if kind == "task":
                self._dispatcher.receive(message.task)
            elif kind == "recorded":
                self._dispatcher.recorded(message.recorded.task_uuid)
            elif kind == "abort":
                self._dispatcher.abort(message.abort.task_uuid)
            elif kind == "doors":
                self._learn(message.doors.endpoints)
            elif kind == "renewed" and self._renewal is not None:
                self._renewal.take(message.renewed)

    async def _write(self, call: Any) -> None:
        while True:
            await call.write(await self._outbox.get())

    async def _beat(self) -> None:
        waiting: set[str] = set()
        while True:
            self._outbox.put(ConnectRequest(heartbeat=Heartbeat(hypervisor_error=self._health())))
            if self._renewal is not None and (asked := self._renewal.request(self._host_uuid)):
                self._outbox.put(ConnectRequest(renew=asked))
            await self._sleep(self._heartbeat_seconds)
            # Only a session that lived for a while ends the back-off: one that is welcomed and dropped does not.
            self._attempt = 0
            waiting = self._resend(waiting)

    def _health(self) -> str:
        try:
            return self._hypervisor_error()
        except Exception as error:
            return f"the hypervisor cannot be asked: {error}"

    def _resend(self, waiting: set[str] | None) -> set[str]:
        """Send again the reports that were unacknowledged a heartbeat ago (None: all); which are so now."""
        reports = self._dispatcher.unacknowledged()
        for report in reports:
            if waiting is None or report.task_uuid in waiting:
                self._outbox.put(ConnectRequest(report=report))
        return {report.task_uuid for report in reports}

    async def _report_inventory(self) -> None:
        while True:
            await self._sleep(INVENTORY_SECONDS if await self._look() else self._heartbeat_seconds)

    async def _look(self) -> bool:
        """Send all there is; whether it could be seen."""
        self._meanwhile.clear()
        try:
            inventory = await self._inventory()
        except Exception as error:
            # The heartbeat tells the node why; here it only means that the next look comes sooner.
            log.warning("host %s: no inventory: %s", self._host_uuid, error)
            return False
        inventory.complete = True
        self._outbox.put(ConnectRequest(inventory=inventory))
        # What changed during the look may be older in it: the change has the last word.
        for change in self._meanwhile:
            self._outbox.put(ConnectRequest(inventory=change))
        return True

    async def _pump_changes(self) -> None:
        assert self._changes is not None
        while True:
            change = await self._changes.get()
            try:
                change.complete = False
                self._meanwhile.append(change)
                self._outbox.put(ConnectRequest(inventory=change))
            except Exception:
                log.exception("host %s: a change is told with the next look at all there is", self._host_uuid)
