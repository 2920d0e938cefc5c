"""Real `zcloud serve` processes on one PostgreSQL, simulated hosts that dial any, and clients that ask again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc

from agents.runtime import channel
from tests.api.compute.ground import Ground, furnish
from tests.support.cloud import (
    CHANNEL,
    Api,
    ApiError,
    ServerProcess,
    add_simulator,
    running_node,
    simulated_hosts,
    simulator_cluster,
)
from zcloud.kernel.store.postgres import PostgresRecorder

# Short, so that a test need not wait; long enough for a machine that is busy.
LEASE = 2.0
# Agents notice sooner than elsewhere that their node has fallen silent.
IMPATIENT = [("grpc.keepalive_time_ms", 1500), ("grpc.keepalive_timeout_ms", 1000)]
PASSING = ("UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", "CANCELLED")


class Nodes:
    """name -> its process. ask() goes to any that lives, as a client behind a load balancer does."""

    def __init__(self, base: Path, store: str, seed: int) -> None:
        self.store = store
        self.ground: Ground = None  # type: ignore[assignment]
        self.chance = random.Random(seed)
        self._base = base
        self.processes: dict[str, ServerProcess] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._token = ""
        self.out: set[str] = set()

    async def start(self, *names: str) -> None:
        """The first makes the key; the others are given it, as an operator does."""
        for name in names:
            directory = self._base / name
            directory.mkdir(exist_ok=True)
            if self.processes:
                shutil.copy(self._base / next(iter(self.processes)) / "vault.key", directory / "vault.key")
            arguments = ("--store", self.store, "--node-name", name, "--lease", str(LEASE))
            self.processes[name] = ServerProcess(directory, arguments=arguments)
        await asyncio.gather(*(asyncio.to_thread(self.processes[name].start) for name in names))
        for name in names:
            self._channels[name] = grpc.aio.insecure_channel(self.processes[name].address, options=CHANNEL)

    @property
    def password(self) -> str:
        """Of the admin, as the first node has left it."""
        return next(iter(self.processes.values())).admin_password

    @property
    def living(self) -> list[str]:
        """Those that were neither killed nor paused."""
        return [name for name in self.processes if name not in self.out]

    async def at(self, name: str) -> Api:
        """The admin's client of one node."""
        api = Api(None, self._channels[name], self._token)  # type: ignore[arg-type]
        if not self._token:
            api = await api.logged_in("admin", self.password)
            self._token = api.token
        return api

    async def ask(self, rpc: str, key: str = "", **fields: Any) -> Any:
        """Asked again, with the same request id, until it is answered; by whatever node."""
        meta = {"zcloud-request": key} if key else {}
        for _ in range(300):
            name = self.chance.choice(self.living)
            try:
                async with asyncio.timeout(3.0 + fields.get("timeout_seconds", 0)):
                    return await (await self.at(name)).call(rpc, meta, **fields)
            except ApiError as error:
                if error.code not in PASSING:
                    raise
            except TimeoutError:
                pass
            await asyncio.sleep(0.1)
        raise AssertionError(f"{rpc} is answered by nobody")

    async def ended(self, job_uuid: str) -> Any:
        """The job, when it has ended."""
        while True:
            answer = await self.ask("WaitJob", uuid=job_uuid, timeout_seconds=2)
            if answer.ended:
                return answer.inventory

    async def close(self) -> None:
        for opened in self._channels.values():
            await opened.close()
        for process in self.processes.values():
            process.go_on()
            await asyncio.to_thread(process.stop)

    def said(self) -> str:
        """What the nodes wrote on their output."""
        return "\n".join(f"-- {name}\n{p.output.read_text()[-3000:]}" for name, p in self.processes.items())


@contextlib.asynccontextmanager
async def cluster(base: Path, store: str, *names: str, hosts: int = 4, seed: int = 1) -> AsyncIterator[Nodes]:
    """Nodes of these names, and all that VMs need. What no call can make is made by one more node, which leaves."""
    made = Nodes(base, store, seed)
    options, channel.CLIENT_OPTIONS = channel.CLIENT_OPTIONS, [*channel.CLIENT_OPTIONS, *IMPATIENT]
    try:
        await made.start(names[0])
        await made.start(*names[1:])
        async with contextlib.AsyncExitStack() as stack:
            (base / "builder").mkdir()
            shutil.copy(base / names[0] / "vault.key", base / "builder" / "vault.key")
            shutil.copy(base / names[0] / "admin-password", base / "builder" / "admin-password")
            async with running_node(base / "builder", store) as api:
                zone, uuid = await simulator_cluster(api)
                size = {"cpu_num": 64, "memory_size": 256 << 30}
                simulated = [await add_simulator(api, uuid, f"host-{n}", **size) for n in range(hosts)]
                fleet = await stack.enter_async_context(simulated_hosts(api, *simulated))
                made.ground = await furnish(Ground(api, zone, uuid, simulated, fleet))
            yield made
    finally:
        channel.CLIENT_OPTIONS = options
        await made.close()


def violations(nodes: Nodes, running: int) -> list[str]:
    """What must not be, whatever happened: reliability.md section 2. The recorder reads what the nodes wrote."""
    recorder = PostgresRecorder(nodes.store)
    try:
        records = recorder.read_all(0, 1_000_000)
    finally:
        recorder.close()
    found = []
    if [r.position for r in records] != list(range(1, len(records) + 1)):
        found.append("positions have a gap")
    if any(one.time > next_.time for one, next_ in pairwise(records)):
        found.append("time goes backwards")
    requests: dict[str, set[str]] = {}
    jobs: dict[str, list[str]] = {}
    for record in records:
        if record.request_id:
            requests.setdefault(record.request_id, set()).add(record.causation_id)
        if record.kind == "job":
            jobs.setdefault(record.resource_uuid, []).append(record.topic)
    found += [f"request {r} was carried out {len(c)} times" for r, c in requests.items() if len(c) > 1]
    found += [f"job {j} ended {t.count('job.Finished')} times" for j, t in jobs.items() if t.count("job.Finished") != 1]
    found += [f"job {j} is stuck" for j, topics in jobs.items() if "job.GotStuck" in topics]
    there = [vm for host in nodes.ground.hosts for vm in host.world.vms]
    found += [f"VM {vm} runs {there.count(vm)} times" for vm in set(there) if there.count(vm) > 1]
    if len(there) != running:
        found.append(f"{len(there)} VMs run, not {running}")
    return found
