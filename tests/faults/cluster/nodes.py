"""Real `zcloud serve` processes on one PostgreSQL that die and come back at their doors; clients that ask again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from agents.runtime.channel import Doors
from agents.runtime.enroll import enroll
from agents.simulator.fleet import Fleet
from tests.api.compute.ground import Ground, furnish
from tests.faults.cluster.child import MUTANT
from tests.faults.cluster.hosts import CountedHost
from tests.faults.harness.hosts import Effects
from tests.support.cloud import CHANNEL, Api, ApiError, ServerProcess, running_node, simulator_cluster, until
from tests.support.nursery import BEGIN
from tests.support.ports import free_port

# Short, so that a test need not wait; long enough for a machine that is busy.
LEASE = 1.0
PASSING = ("UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", "CANCELLED")
# A client must not wait longer for a connection than a node takes to come back.
CLIENT = (
    *CHANNEL,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
)
# A client that was given no answer waits longer for the next: none comes to who asks anew each time too soon.
ANSWER_SECONDS, MORE_PATIENT, MOST_SECONDS = 1.5, 1.25, 20.0
HOSTS = 4


class Nodes:
    """name -> its process. ask() goes to any, whether it lives or not, as a client of three addresses does."""

    def __init__(self, base: Path, store: str, names: tuple[str, ...], mutant: str = "") -> None:
        self.store, self.names, self.base = store, names, base
        self.doors: dict[tuple[str, str], str] = {}
        self.agents: list[Doors] = []
        # So often a call is sent before its client gives up.
        self.tries = 600
        self.processes = {name: self._process(name, mutant) for name in names}
        self.ground: Ground = None  # type: ignore[assignment]
        self.effects = Effects()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._token = ""

    def _process(self, name: str, mutant: str) -> ServerProcess:
        """It has the same doors in each of its lives."""
        arguments = ("--store", self.store, "--node-name", name, "--lease", str(LEASE), "--log-level", "warning")
        for door in ("--listen", "--listen-agents", "--listen-enrolment"):
            self.doors[name, door] = f"127.0.0.1:{free_port()}"
            arguments += (door, self.doors[name, door])
        return ServerProcess(self.base / name, {BEGIN: "tests.faults.cluster.child", MUTANT: mutant}, arguments)

    async def start(self, *late: str) -> None:
        """The first makes the key; the others are given it, as an operator does."""
        first, *others = (name for name in self.names if name not in late)
        await self.up(first)
        for name in others:
            self.bring_key(name)
        await asyncio.gather(*map(self.up, others))

    def bring_key(self, name: str) -> None:
        """To a directory that is new."""
        (self.base / name).mkdir()
        for file in ("vault.key", "admin-password"):
            shutil.copy(self.base / self.names[0] / file, self.base / name / file)

    async def up(self, name: str) -> None:
        """Returns when it serves."""
        await asyncio.to_thread(self.processes[name].start)
        if name not in self._channels:
            self._channels[name] = grpc.aio.insecure_channel(self.processes[name].address, options=CLIENT)

    def kill(self, name: str) -> None:
        """As a power cut would."""
        self.processes[name].kill()

    def pause(self, name: str) -> None:
        """It stands still; its connections stay open."""
        self.processes[name].pause()

    def go_on(self, name: str) -> None:
        """The end of a pause."""
        self.processes[name].go_on()

    async def at(self, name: str) -> Api:
        """The admin's client of one node."""
        api = Api(None, self._channels[name], self._token)  # type: ignore[arg-type]
        if not self._token:
            api = await api.logged_in("admin", (self.base / self.names[0] / "admin-password").read_text().strip())
            self._token = api.token
        return api

    async def ask(self, chance: random.Random, rpc: str, key: str = "", wait: float = 0.0, **fields: Any) -> Any:
        """Asked again, with the same request id, until it is answered; by whatever node. Raises ApiError."""
        meta = {"zcloud-request": key} if key else {}
        patience = ANSWER_SECONDS
        for _ in range(self.tries):
            try:
                async with asyncio.timeout(patience + wait):
                    return await (await self.at(chance.choice(self.names))).call(rpc, meta, **fields)
            except ApiError as error:
                if error.code not in PASSING:
                    raise
            except TimeoutError:
                patience = min(MOST_SECONDS, patience * MORE_PATIENT)
            await asyncio.sleep(0.05)
        raise AssertionError(f"{rpc} is answered by nobody")

    async def ended(self, chance: random.Random, job_uuid: str, given_up: Callable[[], Awaitable[bool]]) -> Any:
        """The job, when it has ended; None when whoever waits for it need not go on."""
        while not await given_up():
            answer = await self.ask(chance, "WaitJob", uuid=job_uuid, timeout_seconds=1, wait=1.0)
            if answer.ended:
                return answer.inventory
        return None

    async def told(self, name: str, rpc: str) -> Any:
        """What one node says, as soon as it says anything."""

        async def look() -> Any:
            with contextlib.suppress(ApiError):
                return await (await self.at(name)).call(rpc)
            return None

        return await until(look)

    async def shared_out(self) -> None:
        """Wait until all work is somebody's, and everybody says the same."""

        async def owned_by(name: str) -> dict[str, list[int]]:
            answer = await (await self.at(name)).call("QueryManagementNode")
            return {m.name: list(m.partitions) for m in answer.inventories if m.status == m.STATUS_ALIVE}

        async def look() -> bool:
            with contextlib.suppress(ApiError):
                told = [await owned_by(name) for name in self.names]
                parts = sorted(part for owned in told[0].values() for part in owned)
                return all(t == told[0] for t in told) and set(told[0]) == set(self.names) and parts == list(range(64))
            return False

        await until(look, 60)

    async def close(self) -> None:
        for opened in self._channels.values():
            await opened.close()
        for process in self.processes.values():
            process.go_on()
            await asyncio.to_thread(process.kill)

    async def agents_know(self, name: str) -> None:
        """Wait until every agent would dial this node, too."""

        async def look() -> bool:
            return all(self.doors[name, "--listen-agents"] in doors.known for doors in self.agents)

        await until(look)

    def said(self) -> str:
        """What the nodes wrote on their output."""
        found = []
        for name, process in self.processes.items():
            if process.output.exists():
                found.append(f"-- {name}\n{process.output.read_text()[-3000:]}")
        return "\n".join(found)


@contextlib.asynccontextmanager
async def cluster(
    base: Path, store: str, names: tuple[str, ...], mutant: str = "", late: tuple[str, ...] = ()
) -> AsyncIterator[Nodes]:
    """Nodes of these names (late: not yet), and all that VMs need.

    What no call can make is made by one more node, which leaves.
    """
    made = Nodes(base, store, names, mutant)
    try:
        await made.start(*late)
        async with contextlib.AsyncExitStack() as stack:
            made.bring_key("builder")
            async with running_node(base / "builder", store) as api:
                zone, uuid = await simulator_cluster(api)
                hosts = [await _host(api, uuid, n, made.effects) for n in range(HOSTS)]
                made.agents = await _agents(stack, await made.at(names[0]), base, hosts)
                made.ground = await furnish(Ground(api, zone, uuid, list(hosts), None))  # type: ignore[arg-type]
            yield made
    finally:
        await made.close()


async def _host(api: Api, cluster_uuid: str, number: int, effects: Effects) -> CountedHost:
    size = {"cpu_num": 64, "memory_size": 256 << 30}
    named = {"name": f"host-{number}", "management_ip": f"host-{number}.invalid"}
    answer = await api.call("AddSimulatorHost", cluster_uuid=cluster_uuid, **named, **size)
    return CountedHost(answer.inventory.uuid, effects, **size)


async def _agents(stack: contextlib.AsyncExitStack, api: Api, base: Path, hosts: list[CountedHost]) -> list[Doors]:
    """Each has a connection of its own, to whichever node chance has it; what each knows of nodes."""
    issued = await api.call("IssueEnrollToken")
    identity = await enroll(base / "agents", issued.enroll_endpoint, issued.token, issued.ca_fingerprint, "simulator")
    fleets = [Fleet(issued.agent_endpoint, identity) for _ in hosts]
    for fleet, host in zip(fleets, hosts, strict=True):
        fleet.start(host)
        stack.push_async_callback(fleet.stop)
    return [doors for fleet in fleets for doors in fleet._doors]
