"""Watches agents' sessions: a lost one makes its host Disconnected, a new one makes it connect in full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from zcloud.domain.infrastructure.host import Host, HostStatus, Status
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.errors import Refused
from zcloud.kernel.job import JobQueue
from zcloud.kernel.keep import Turns, keeper, passes
from zcloud.kernel.record import Record
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.infrastructure.arrivals import AT_ONCE, Arrivals
from zcloud.v1.agent_pb2 import HostInventory

log = logging.getLogger(__name__)
# After a start agents need a moment to dial in again.
GRACE_SECONDS = 30.0
# And thousands of them need longer: as long as some still come, so often and for so long the others are waited for.
STORM_STEP_SECONDS, STORM_STEPS = 5.0, 24
RETRY_SECONDS = 2.0
# That a host is lost must not be lost by a fault that passes; what makes no sense must not hold up what comes next.
TRIES = 5
# Between a connect that failed and the next, as long as the agent is well.
RECONNECT_SECONDS = 30.0
# With these the connect of a host has come to an end, or what was under way is known to be over.
SETTLED = ("host_status.Connected", "host_status.Disconnected")
Work = Callable[[], Coroutine[Any, Any, None]]
T = TypeVar("T")

# What else becomes of things when a host is lost, and when it says what it runs.
LostHook = Callable[[Unit, Host, str], Coroutine[Any, Any, None]]
SeenHook = Callable[[Cloud, Host, HostInventory], Coroutine[Any, Any, None]]
ON_LOST: list[LostHook] = []
ON_INVENTORY: list[SeenHook] = []


class Sessions(Protocol):
    """With which of several nodes agents speak."""

    def session_opened(self, host_uuid: str, instance: str) -> None: ...

    def session_closed(self, host_uuid: str, instance: str) -> None: ...

    def session_of(self, host_uuid: str) -> str:
        """The living process that has the host's session; empty when none has."""
        ...


class HostWatch:
    """One per node; takes what sessions say, in order for each host."""

    def __init__(
        self,
        cloud: Cloud,
        is_connected: Callable[[str], bool],
        is_well: Callable[[str], bool] = lambda _: False,
        sessions: Sessions | None = None,
    ) -> None:
        """is_well: whether a host's agent is connected and its hypervisor answers. sessions: with other nodes, too."""
        self.cloud = cloud
        self._is_connected = is_connected
        self._is_well = is_well
        self._sessions = sessions
        self._all: Callable[[], Awaitable[list[str]]] | None = None
        self._retries: set[asyncio.Task[None]] = set()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._sweeps: set[asyncio.Task[None]] = set()
        self._losses = asyncio.Semaphore(AT_ONCE)
        self._arrivals = Arrivals(lambda host_uuid: self._later(host_uuid, lambda: self._connect(host_uuid)))

    async def find(self, host_uuid: str) -> Host | None:
        """The host, if it is ours."""
        found = await self.cloud.load(host_uuid)
        return found if isinstance(found, Host) and found.exists else None

    # -- what sessions say

    def opened(self, host_uuid: str) -> None:
        """A session is open: the host connects in full, unless a job is at that already."""
        if self._sessions is not None:
            self._later(host_uuid, lambda: self._say(host_uuid))
        self._arrivals.add(host_uuid)

    def lost(self, host_uuid: str) -> None:
        """The session is over."""
        self._arrivals.gone(host_uuid)
        self._later(host_uuid, lambda: self._disconnect(host_uuid, "the connection to its agent was lost", gone=True))

    def hypervisor(self, host_uuid: str, error: str) -> None:
        """The agent lives; its hypervisor has gone (error) or come back (empty)."""
        if error:
            self._later(host_uuid, lambda: self._disconnect(host_uuid, f"the hypervisor does not answer: {error}"))
        else:
            self._arrivals.add(host_uuid)

    def doubted(self, host_uuid: str) -> None:
        """It did something after its job had given it up: what is there now, only the host can say."""
        self._arrivals.add(host_uuid)

    def observed(self, host_uuid: str, inventory: HostInventory) -> None:
        """What is really there."""
        self._later(host_uuid, lambda: self._take(host_uuid, inventory))

    # -- life

    def start(self, hosts: Callable[[], Awaitable[list[str]]]) -> None:
        """hosts: gives all there are."""
        self.cloud.log.listen(self._on_committed)
        self._all = hosts
        self.sweep()

    def sweep(self) -> None:
        """A node has come or gone: hosts whose agents do not come back within the grace are Disconnected."""
        task = keeper(self._sweep, "host-watch", RETRY_SECONDS)
        self._sweeps.add(task)
        task.add_done_callback(self._sweeps.discard)

    async def _sweep(self) -> None:
        assert self._all is not None
        hosts = await self._all()
        await self.cloud.clock.sleep(GRACE_SECONDS)
        missing = [host_uuid for host_uuid in hosts if not self._is_connected(host_uuid)]
        for _ in range(STORM_STEPS if missing else 0):
            await self.cloud.clock.sleep(STORM_STEP_SECONDS)
            before, missing = missing, [host_uuid for host_uuid in missing if not self._is_connected(host_uuid)]
            if len(missing) == len(before):
                break
        for host_uuid in missing:
            if self.cloud.leases.owns(host_uuid):
                self.lost(host_uuid)

    async def close(self) -> None:
        """Drop what is not done; it is seen again at the next start."""
        self._arrivals.close()
        tasks = [*self._lanes.values(), *self._retries, *self._sweeps]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_committed(self, records: list[Record]) -> None:
        """A connect that failed while the agent is well is tried again, after a while."""
        for record in records:
            if record.topic in SETTLED:
                self._arrivals.done(record.resource_uuid)
            if record.topic == "host_status.Disconnected" and self._is_well(record.resource_uuid):
                self._again(record.resource_uuid)

    def _again(self, host_uuid: str) -> None:
        async def retry() -> None:
            await self.cloud.clock.sleep(RECONNECT_SECONDS)
            host = await self.find(host_uuid)
            if host is None or not self._is_well(host_uuid):
                return
            status = await self.cloud.load(HostStatus.stream_of(host_uuid, host.life), HostStatus)
            if isinstance(status, HostStatus) and status.status is Status.DISCONNECTED:
                self.opened(host_uuid)

        task = keeper(retry, f"reconnect-{host_uuid}", RETRY_SECONDS)
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    def _later(self, host_uuid: str, work: Work) -> None:
        before = self._lanes.get(host_uuid)

        async def run() -> None:
            if before is not None:
                await asyncio.wait({before})
            turns, tries = Turns(f"host-{host_uuid}", RETRY_SECONDS), 0
            while True:
                soon = hopeless = False
                try:
                    await work()
                    return
                except Refused as refused:
                    soon = passes(refused)
                    tries += not soon
                    if turns.broke(refused.message):
                        log.warning("host %s: %s", host_uuid, refused.message)
                except Exception as error:
                    tries, hopeless = tries + 1, True
                    if turns.broke(repr(error)):
                        log.exception("host %s: what its agent said could not be taken", host_uuid)
                # What is refused may be right later, as long as nothing newer waits behind it.
                if tries >= TRIES and (hopeless or self._lanes.get(host_uuid) is not asyncio.current_task()):
                    log.error("host %s: what its agent said is given up after %d tries", host_uuid, tries)
                    return
                await self.cloud.clock.sleep(turns.pause(soon=soon))

        task = asyncio.get_running_loop().create_task(run(), name=f"host-{host_uuid}")
        self._lanes[host_uuid] = task

        def done(_: asyncio.Task[None]) -> None:
            if self._lanes.get(host_uuid) is task:
                del self._lanes[host_uuid]

        task.add_done_callback(done)

    # -- what becomes of it

    async def _decide(self, reason: str, body: Callable[[Unit], Coroutine[Any, Any, T]]) -> T:
        found: T = (await self.cloud.decide(self.cloud.by_itself("host_watch", reason), body)).value
        return found

    async def _connect(self, host_uuid: str) -> None:
        async def connect(unit: Unit) -> bool:
            host = await unit.find(Host, host_uuid)
            if host is None:
                return False
            queue = await unit.companion(JobQueue, host)
            if queue.jobs or host.deleting_job:
                return False
            await submit(unit, "connect_host", host)
            return True

        if not await self._decide("its agent has dialled in", connect):
            self._arrivals.done(host_uuid)

    async def _say(self, host_uuid: str) -> None:
        """Other nodes learn whom to ask for this host."""
        if self._sessions is not None:
            await asyncio.to_thread(self._sessions.session_opened, host_uuid, self.cloud.leases.instance)

    async def _disconnect(self, host_uuid: str, reason: str, *, gone: bool = False) -> None:
        # A switch that fails takes thousands at once: they wait here, and those that come back meanwhile are not lost.
        async with self._losses:
            await self._lose(host_uuid, reason, gone=gone)

    async def _lose(self, host_uuid: str, reason: str, *, gone: bool) -> None:
        if gone and self._is_connected(host_uuid):
            return  # it came back before this was looked at
        if gone and self._sessions is not None:
            await asyncio.to_thread(self._sessions.session_closed, host_uuid, self.cloud.leases.instance)
            if await asyncio.to_thread(self._sessions.session_of, host_uuid):
                return  # it speaks with another node now

        async def disconnect(unit: Unit) -> None:
            host = await unit.find(Host, host_uuid)
            if host is None:
                return
            status = await unit.companion(HostStatus, host)
            queue = await unit.companion(JobQueue, host)
            if status.status is Status.CONNECTING and queue.jobs:
                return  # the job that connects it will say how that ended
            status.disconnected(reason)
            for hook in ON_LOST:
                await hook(unit, host, reason)

        await self._decide(reason, disconnect)

    async def _take(self, host_uuid: str, inventory: HostInventory) -> None:
        host = await self.find(host_uuid)
        if host is not None:
            for hook in ON_INVENTORY:
                await hook(self.cloud, host, inventory)
