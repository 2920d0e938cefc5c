"""One management node: store, decisions, read models, jobs and doors, put together and taken apart in order."""

from __future__ import annotations

import asyncio
import importlib
import logging
import pkgutil
from pathlib import Path

from sqlalchemy import select

import zcloud.domain
import zcloud.processes
from agents.node.handlers import node_handlers
from agents.node.kvm_agent import AGENT_BASE
from agents.runtime.journal import Journal
from projections import call_log, damage
from projections import engine as read_models
from projections.engine import open_engine, reading, watched
from projections.follower import Follower, ProcessFollower, ThreadFollower
from projections.history import History
from projections.past import Past
from projections.projector import Projector
from projections.schema.registry import ReadModels
from projections.snapshots import SnapshotsIn
from zcloud.api import first_start
from zcloud.api.agent_door import AgentDoor
from zcloud.api.agent_sessions import AgentSessions
from zcloud.api.answers import load_handlers
from zcloud.api.calls import Calls
from zcloud.api.cluster import Cluster, facts_of, open_authority, open_vault
from zcloud.api.current import Current
from zcloud.api.front.fronts import Fronts
from zcloud.api.growth import Growth
from zcloud.api.operations.actions import Actions
from zcloud.api.proof import Proof
from zcloud.api.server import Server
from zcloud.api.tls import Tls, door_of
from zcloud.api.views import Views
from zcloud.api.webhooks import Webhooks
from zcloud.kernel import failpoint
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.job import ENDED
from zcloud.kernel.leases import LEASE_SECONDS
from zcloud.kernel.log import Log
from zcloud.kernel.record import Record
from zcloud.kernel.runner import Runner
from zcloud.kernel.store import leave_mark, open_store
from zcloud.processes.infrastructure.host_watch import HostWatch
from zcloud.processes.watch import WATCHES

log = logging.getLogger(__name__)


def load_everything() -> None:
    """Import every aggregate and workflow, so that they are known by their names."""
    for package in (zcloud.domain, zcloud.processes):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(info.name)


class Node:
    """zcloud serve, without its command line. directory holds the log, the read models, keys and certificates.

    store: postgresql://… when log and read models lie there, and not in the directory. Any number of nodes may then
    serve the same cloud, each with a name and a directory of its own; lease: seconds after which the others see to the
    work of one that is gone. vault_key: the file with the key that all of them must have, else it is in the directory.
    share_ports: other nodes of this machine may listen at the same addresses.
    tls: what the API's door shows; None for a door in clear.
    fronts: processes that speak gRPC at the API's door for this one; with none it does so itself.
    follow_apart: fill the read models, and the log of calls, in processes of their own.
    """

    def __init__(
        self,
        directory: Path,
        agent_base: str = AGENT_BASE,
        store: str = "",
        *,
        follow_apart: bool = False,
        name: str = "",
        lease: float = LEASE_SECONDS,
        vault_key: Path | None = None,
        share_ports: bool = False,
        tls: Tls | None = None,
        fronts: int = 0,
    ) -> None:
        load_everything()
        load_handlers()
        failpoint.arm_from_environment()
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.share_ports = share_ports
        self.tls = tls
        self.fronts = fronts
        self.recorder = open_store(directory, store)
        if not store:
            damage.put_away(directory / read_models.FILE, keep=False)
            damage.put_away(directory / call_log.FILE, keep=True)
        else:
            leave_mark(directory)
        self.vault = open_vault(vault_key or directory / "vault.key", self.recorder)
        self.authority = open_authority(directory / "pki", self.vault, self.recorder)
        self.cluster = Cluster(directory, store, name, lease, lambda: facts_of(self))
        leases = self.cluster.leases
        self.cloud = Cloud(Log(self.recorder), leases=leases)
        self.cloud.log.together = lambda: leases.together
        self.models = ReadModels.of_api()
        self.engine = open_engine(directory, store)
        self.follower: Follower = (
            ProcessFollower(self.cloud.log, directory, store, self._writes)
            if follow_apart
            else ThreadFollower(self.cloud.log, Projector(self.recorder, self.engine, self.models), self._writes)
        )
        watched(self.engine, self.follower.found)
        # For who asks one thing at a time.
        self.readers = reading(self.engine)
        self.views = Views(self.cloud, self.follower, self.readers, self.models)
        self.current = Current(self)
        self.past = Past(self.recorder, self.models, self.engine, self.follower.reached)
        self.cloud.snapshots = SnapshotsIn(self.readers)
        self.history = History(self.recorder)
        self.calls = Calls(self, store, apart=follow_apart)
        self.proof = Proof(self, store)
        self.growth = Growth(self.cloud.log)
        self.webhooks = Webhooks(self)
        self.agents = AgentSessions(Journal(directory / "agent-journal.db"), node_handlers(agent_base))
        self.runner = self.agents.runner = Runner(self.cloud, self.agents, self._active_jobs)
        self.hosts = HostWatch(self.cloud, self.agents.reaches, self.agents.is_well, self.cluster.table)
        self.cloud.ports.update(vault=self.vault, views=self.views, doors=self.doors, probe=self.agents.probe)
        self.cloud.ports.update(actions=Actions(self))
        self.watches = [made(self.cloud) for made in WATCHES]
        # Request ids that are under way, by account, and who waits for them.
        self.requests: dict[tuple[str, str], list[asyncio.Future[None]]] = {}
        self.door: AgentDoor | None = None
        self.server: Server | Fronts | None = None
        self.address = ""

    def _writes(self) -> bool:
        return self.cloud.leases.owns("read models")

    def _crowd(self) -> int:
        """How many wait for the log: callers, and jobs."""
        return self.runner.driven + (self.server.under_way if self.server is not None else 0)

    def doors(self) -> dict[str, str]:
        """What an agent must know to find this node and to trust it."""
        assert self.door is not None
        return {
            "ca_fingerprint": self.authority.fingerprint,
            "enroll_endpoint": self.cluster.endpoints("enroll_endpoint", self.door.enroll_endpoint),
            "agent_endpoint": self.cluster.endpoints("agent_endpoint", self.door.agent_endpoint),
        }

    async def _active_jobs(self) -> list[str]:
        await self.follower.caught_up()
        table = self.models["job"].table
        with self.engine.connect() as connection:
            ended = [state.value for state in ENDED]
            return list(connection.execute(select(table.c.uuid).where(table.c.state.notin_(ended))).scalars())

    async def start(self, listen: str, agents: str = "127.0.0.1:0", enrolment: str = "127.0.0.1:0") -> None:
        """Begin to serve. Addresses are host:port, port 0 for any; agents must be able to reach theirs."""
        fronts = Fronts(self, self.fronts) if self.fronts and not listen.startswith("unix:") else None
        if fronts is not None:
            self.server = fronts
            await fronts.begin()  # they get ready while the node does
        self.cloud.log.start()
        await self.cluster.start()
        await self.follower.start()
        await first_start.run(self)
        await self.calls.start()
        await self.proof.start()
        self.door = AgentDoor(self)
        await self.runner.start()
        self.cloud.log.listen(self._forget_removed)
        await self.door.start(agents, enrolment)
        self.hosts.start(lambda: self.views.where("host"))
        self.cluster.on_gone(lambda _: self.hosts.sweep())
        tls = door_of(self.tls, self.authority, self.directory)
        self.cloud.log.crowd = self._crowd
        if fronts is not None:
            port = await fronts.start(listen, tls)
        else:
            self.server = Server(self)
            port = await self.server.start(listen, tls.credentials() if tls is not None else None)
        self.address = f"{listen.rpartition(':')[0]}:{port}"
        for watch in self.watches:
            watch.start()
        self.webhooks.start()
        log.info("serving on %s, agents on %s", self.address, self.door.agent_endpoint)

    def _forget_removed(self, records: list[Record]) -> None:
        """The agent of a host that is gone has no business here any more."""
        for record in records:
            if record.topic.endswith("_host.Removed"):
                self.agents.drop(record.resource_uuid)

    async def stop(self) -> None:
        """Stop serving; what is accepted is in the log."""
        if self.server is not None:
            await self.server.stop()
        await self.webhooks.close()
        for watch in self.watches:
            await watch.close()
        await self.hosts.close()
        await self.runner.close()
        await self.cluster.close()
        await self.agents.close()
        if self.door is not None:
            await self.door.stop()
        await self.calls.close()
        await self.follower.close()
        self.past.close()
        self.cloud.log.close()
        await self.proof.close()
        self.engine.dispose()
        self.recorder.close()
        self.cluster.dispose()
