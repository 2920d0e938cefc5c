"""The cloud of one run: a node that may die and come back, its hosts, and a client that asks again until answered."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable
from typing import Any

from agents.runtime.journal import Journal
from agents.simulator.faults import Pace
from tests.faults.harness.hosts import Effects, Host, Servers, Watched, fork_journal, node_handlers
from tests.faults.harness.lake import Fold, Handle, InlineLog, Lake
from tests.faults.harness.loop import Owner, VirtualClock, later
from tests.faults.harness.network import Network, Weather
from tests.support.cloud import build
from zcloud.api import pipeline
from zcloud.api.agent_door import AgentDoor
from zcloud.api.agent_sessions import AgentSessions
from zcloud.api.answers import bind, load_handlers
from zcloud.api.call import Call
from zcloud.api.node import load_everything
from zcloud.api.rpcs import rpcs
from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.kernel import failpoint
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Refused
from zcloud.kernel.ids import SeededIds, derive
from zcloud.kernel.job import ENDED, Job, JobQueue, JobState
from zcloud.kernel.resource import Resource
from zcloud.kernel.runner import Runner
from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import Vault
from zcloud.kernel.workflow import submit
from zcloud.processes.infrastructure.host_watch import GRACE_SECONDS, STORM_STEP_SECONDS, HostWatch

load_everything()
load_handlers()
ADMIN = Actor(ADMIN_UUID, "admin", "session", "client", True)
VAULT = Vault(b"k" * 32)


class Dead(Exception):
    """The node died before it answered."""


class FaultNode(Owner):
    """One life of a node: everything that zcloud serve puts together, but for gRPC, TLS and read models in tables."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.handle = Handle(run.lake, self._gate)
        clock = VirtualClock(run.begin)
        self.log = InlineLog(self.handle)  # type: ignore[arg-type]
        if run.latency is not None:
            self.log.latency = run.latency
        self.cloud = Cloud(self.log, clock, SeededIds(run.seed * 1000 + run.lives))
        self.vault = VAULT
        self.recorder = self.handle
        self.requests: dict[Any, Any] = {}
        handlers = node_handlers(run.servers, run.hosts, run.add_host, run.pace)
        self.agents = AgentSessions(run.node_journal, [Watched(h, run.effects) for h in handlers])
        self.runner = self.agents.runner = Runner(self.cloud, self.agents, self._active)
        self.hosts = HostWatch(self.cloud, lambda uuid: self.agents.connected(uuid) is not None)
        self.door = object.__new__(AgentDoor)
        self.door.node = self
        self.cloud.ports.update(vault=VAULT, views=run.lake.fold, probe=self.agents.probe, doors=dict)

    def doors(self) -> dict[str, str]:
        """Agents need not be told of any: the network knows them."""
        return {"agent_endpoint": ""}

    async def _active(self) -> list[str]:
        return self.run.active()

    def die(self) -> None:
        self.handle.dead = True
        super().die()

    def _gate(self, moment: str) -> bool:
        """Whether this life ends here."""
        if not self.dead and self.run.gate(moment):
            self.run.kill()
        return self.dead

    async def start(self) -> None:
        """As Node.start does."""
        self.log.start()
        await self.runner.start()
        self.log.listen(self._forget_removed)
        self.hosts.start(self._hosts)
        self.own(self.door.watch(), "agents' silence")

    async def _hosts(self) -> list[str]:
        return [m.uuid for m in self.run.lake.fold.all("host")]

    def _forget_removed(self, records: list[Any]) -> None:
        for record in records:
            if record.topic.endswith("_host.Removed"):
                self.agents.drop(record.resource_uuid)

    async def call(self, rpc_name: str, request_id: str, fields: dict[str, Any], actor: Actor = ADMIN) -> Any:
        """One command by way of the pipeline; raises Refused."""
        rpc = rpcs()[rpc_name]
        _, handler = bind(rpc)
        call_id = self.cloud.ids.new()
        context = Context(actor, rpc_name, request_id, causation_id=call_id, correlation_id=call_id)
        data, _ = await pipeline.run_command(Call(self, rpc, context), handler, build(rpc_name, fields))  # type: ignore[arg-type]
        return rpc.response.FromString(data)


class Run:
    """One run. gate: whether the node dies at this commit ("before" or "after" it)."""

    def __init__(self, base: Run | None = None, seed: int = 1, weather: Weather | None = None) -> None:
        self.seed = seed
        self.lives = base.lives if base else 0
        self.kills = 0
        self.began = 0
        self.weather = weather or Weather(random.Random(seed))
        self.network = Network(self.weather)
        self.effects = Effects()
        self.pace = Pace()
        self.latency: Callable[[], float] | None = None
        self.gate: Callable[[str], bool] = lambda _moment: False
        self.node: FaultNode | None = None
        self.restarts = True
        # Hosts answer long before any step's time is over, and no message is held up for that long.
        self.prompt = True
        self.dies_at = ""
        self.deaths = 0
        self.names: dict[str, Any] = dict(base.names) if base else {}
        self.lake = base.lake.fork() if base else Lake()
        self.began = self.past_end = len(self.lake.records)
        self.past = base.lake.fold if base else Fold()
        self.begin = (self.lake.records[-1].time / 1_000_000 - 1_700_000_000) if self.lake.records else 0.0
        self.servers = copy.deepcopy(base.servers) if base else Servers()
        self.node_journal = fork_journal(base.node_journal) if base else Journal()
        self.hosts: dict[str, Host] = {}
        memo: dict[int, Any] = {}
        for uuid, host in base.hosts.items() if base else ():
            self.hosts[uuid] = host.fork(self.network, self.effects, memo)
        # Hosts whose agents ran when the run ended.
        self.alive: list[str] = list(base.alive) if base else []

    # -- life

    async def start(self) -> None:
        """The node, and the agents that were there."""
        await self.start_node()
        for uuid in self.alive:
            self.hosts[uuid].start()

    def halt(self) -> None:
        """The picture is taken: nothing happens any more."""
        failpoint.disarm()
        self.alive = [uuid for uuid, host in self.hosts.items() if host.installed]
        self.restarts = False
        if self.node is not None:
            self.node.die()
        for host in self.hosts.values():
            host.stop()

    async def start_node(self) -> None:
        """The next life."""
        self.lives += 1
        node = self.node = self.network.node = FaultNode(self)
        await node.own(node.start())

    def kill(self) -> None:
        """SIGKILL; the next life begins a second later."""
        assert self.node is not None
        self.kills += 1
        self.node.die()
        self.network.cut()
        if self.restarts:
            later(1.0, self.start_node)

    def arm(self) -> None:
        """Let the first agent that comes to the failpoint die there; the node's own takes the node with it."""
        failpoint.disarm()
        if not self.dies_at:
            return
        for host in self.hosts.values():
            host.failpoint = lambda name, host=host: self._pass(name, host.crash)  # type: ignore[misc]
        failpoint.arm(self.dies_at, lambda: self._pass(self.dies_at, self.kill))

    def _pass(self, name: str, die: Callable[[], None]) -> None:
        if name == self.dies_at and not self.deaths:
            self.deaths += 1
            begun = self.node_journal._db.execute("SELECT task_uuid FROM task WHERE report IS NULL").fetchall()
            self.effects.crashed |= {row[0] for row in begun}
            die()
            raise asyncio.CancelledError

    def add_host(self, uuid: str) -> Host:
        """A machine that an agent is installed on for the first time."""
        made = self.hosts[uuid] = Host(uuid, self.network, self.effects)
        made.pace = self.pace
        return made

    # -- client

    async def call(self, rpc: str, /, request_id: str = "", actor: Actor = ADMIN, **fields: Any) -> Any:
        """Ask with a request id until there is an answer; raises Refused."""
        request_id = request_id or derive(rpc, str(len(self.lake.requests)), str(self.seed))
        return await self._insist(lambda node: node.call(rpc, request_id, fields, actor))

    async def submit(self, workflow: str, uuid: str, args: dict[str, Any]) -> str:
        """A job that no call asks for, once."""
        mark = derive("submit", workflow, uuid, str(self.began))

        async def decide(node: FaultNode) -> str:
            for record in self.lake.records[self.began :]:
                if record.topic == "job.Created" and record.request_id == mark:
                    return record.resource_uuid

            async def body(unit: Unit) -> str:
                return (await submit(unit, workflow, await unit.get(Resource, uuid), args)).uuid

            return str((await node.cloud.decide(Context(ADMIN, "harness", mark), body)).value)

        return str(await self._insist(decide))

    async def decide(self, body: Callable[[Unit], Awaitable[Any]]) -> None:
        """What no call asks for; the body must do no harm when it is done twice."""
        await self._insist(lambda node: node.cloud.decide(Context(ADMIN, "harness"), body))

    async def _insist(self, ask: Callable[[FaultNode], Awaitable[Any]]) -> Any:
        while True:
            node = self.node
            if node is None or node.dead:
                await asyncio.sleep(0.3)
                continue
            asked = node.own(ask(node))  # type: ignore[arg-type]
            await asyncio.wait({asked}, timeout=30)
            if not asked.done():
                asked.cancel()
            elif not asked.cancelled():
                error = asked.exception()
                if isinstance(error, Refused) and error.code.name in ("UNAVAILABLE", "ABORTED"):
                    await asyncio.sleep(0.3)
                    continue
                if error is not None and not node.dead:
                    raise error
                if error is None and not node.dead:
                    return asked.result()
            await asyncio.sleep(0.3)

    async def done(self, rpc: str, /, **fields: Any) -> Any:
        """Call, and insist that the job succeeds."""
        answer = await self.call(rpc, **fields)
        if getattr(answer, "job_uuid", ""):
            job = await self.ended(answer.job_uuid)
            assert job.state is JobState.SUCCEEDED, (rpc, job.error)
        return answer

    def job(self, uuid: str) -> Job:
        """As the log has it."""
        found = self.lake.fold.views[uuid].main
        assert isinstance(found, Job)
        return found

    def active(self) -> list[str]:
        """Jobs that have not ended."""
        return [m.uuid for m in self.lake.fold.all("job") if m.state not in ENDED]  # type: ignore[attr-defined]

    def rests(self, job: Job) -> bool:
        """It waits for an operator: it is Stuck, or in the queue behind one that is."""
        view = self.lake.fold.views.get(job.resource_uuid)
        queues = view.beside.values() if view is not None and job.state is JobState.WAITING else ()
        waits_for = [q.jobs[0] for q in queues if isinstance(q, JobQueue) and job.uuid in q.jobs]
        return any(self.job(uuid).state is JobState.STUCK for uuid in (job.uuid, *waits_for))

    async def ended(self, uuid: str, seconds: float = 3000) -> Job:
        """The job, when it has ended or is stuck."""
        async with asyncio.timeout(seconds):
            while self.job(uuid).state not in (*ENDED, JobState.STUCK):  # noqa: ASYNC110 - it may end in another life
                await asyncio.sleep(0.25)
        return self.job(uuid)

    async def quiet(self, seconds: float = 3000) -> bool:
        """Wait until nothing goes on by itself; False when that never comes."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        calm = 0
        while loop.time() < until:
            await asyncio.sleep(0.5)
            going = [j for j in self.active() if not self.rests(self.job(j))]
            calm = calm + 1 if not going and self._settled() else 0
            if calm >= 3:
                return True
        return False

    def _settled(self) -> bool:
        node = self.node
        if node is None or node.dead or node.hosts._lanes:
            return False
        there = {m.uuid for m in self.lake.fold.all("host")}
        return all(
            uuid not in there or node.agents.connected(uuid) is not None
            for uuid, host in self.hosts.items()
            if host.installed
        )

    async def settle(self) -> bool:
        """One more life, in which every host says what it has; whether all comes to rest."""
        self.gate = lambda _moment: False
        self.kill()
        # As long as the node gives agents to come back.
        await asyncio.sleep(GRACE_SECONDS + STORM_STEP_SECONDS + 2)
        return await self.quiet()
