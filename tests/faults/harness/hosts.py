"""Agents of hosts and the node's own: the real runtime with its journal, over worlds that outlive them."""

from __future__ import annotations

import asyncio
import copy
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.runtime.dispatch import Dispatcher
from agents.runtime.journal import Journal
from agents.runtime.outbox import Outbox
from agents.runtime.session import Session
from agents.runtime.task import Handler, TaskError, Work
from agents.simulator.faults import Pace
from agents.simulator.host import HANDLERS
from agents.simulator.world import GIB, World
from tests.faults.harness.loop import Owner, later
from tests.faults.harness.network import Channel, Network
from zcloud.v1.backup_storage_task_pb2 import (
    CleanImageStoreResult,
    CleanImageStoreTask,
    ConnectImageStoreResult,
    ConnectImageStoreTask,
    ConnectSftpBackupStorageResult,
    ConnectSftpBackupStorageTask,
    DeleteExportedImageResult,
    DeleteExportedImageTask,
    ExportImageResult,
    ExportImageTask,
    MeasureImageResult,
    MeasureImageTask,
    StopImageStoreResult,
    StopImageStoreTask,
    StoredImage,
)
from zcloud.v1.host_task_pb2 import (
    DeployKvmAgentResult,
    DeployKvmAgentTask,
    RemoveKvmAgentResult,
    RemoveKvmAgentTask,
)
from zcloud.v1.image_task_pb2 import (
    DeleteImageResult,
    DeleteImageTask,
    DownloadImageResult,
    DownloadImageTask,
)

IMAGE_BYTES, DISK_BYTES = 64 << 20, GIB
# An image that image stores hold from before.
STORED = "5" * 32


@dataclass
class Effects:
    """What was really done: task by task, and in what order. plan: what is to fail, by task uuid and moment.

    twice: everything is done a second time, as by an agent that does not know that it was done.
    """

    done: list[str] = field(default_factory=list)
    crashed: set[str] = field(default_factory=set)
    twice: bool = False
    plan: Callable[[str, str], None] = lambda _task, _moment: None


class Watched(Handler[Any, Any]):
    """A handler whose effects are counted, and which fails where the run's plan says so."""

    def __init__(self, inner: Handler[Any, Any], effects: Effects) -> None:
        self.inner = inner
        self.task, self.result = inner.task, inner.result  # type: ignore[misc]
        self.effects = effects

    async def run(self, args: Any, work: Work) -> Any:
        self.effects.plan(work.task_uuid, "before")
        result = await self.inner.run(args, work)
        if self.effects.twice:
            result = await self.inner.run(args, work)
        self.effects.done.append(work.task_uuid)
        self.effects.plan(work.task_uuid, "after")
        return result

    async def probe(self, args: Any) -> Any:
        return await self.inner.probe(args)


class Host:
    """One host: its world and its journal stay, its agent comes and goes."""

    def __init__(self, uuid: str, network: Network, effects: Effects, journal: Journal | None = None) -> None:
        self.uuid = uuid
        self.network = network
        self.effects = effects
        self.world = World()
        self.pace = Pace()
        self.journal = Journal() if journal is None else journal
        self.life: Owner | None = None
        self.dispatcher: Dispatcher | None = None
        self.failpoint: Callable[[str], None] = lambda _name: None

    @property
    def installed(self) -> bool:
        """An agent runs."""
        return self.life is not None

    def start(self) -> None:
        """Let an agent dial in; one that runs already goes on."""
        if self.life is not None:
            return
        life = self.life = Owner()
        outbox = Outbox()
        clock = asyncio.get_running_loop().time
        handlers = [Watched(handler(self.world, self.pace), self.effects) for handler in HANDLERS]

        def put(message: Any) -> None:
            if not life.dead:
                outbox.put(message)

        def pass_failpoint(name: str) -> None:
            if life.dead:
                raise asyncio.CancelledError
            self.failpoint(name)

        async def live() -> None:
            self.dispatcher = Dispatcher(self.journal, handlers, put, clock=clock, failpoint=pass_failpoint)
            session = Session(
                self.uuid,
                Channel(self.network, self.uuid),  # type: ignore[arg-type]
                self.dispatcher,
                outbox,
                self._inventory,
                lambda: self.world.hypervisor_error,
                chance=lambda: 0.5,
                incarnation="0",
            )
            await session.run()

        life.own(live(), f"agent {self.uuid}")

    async def _inventory(self) -> Any:
        return self.world.inventory()

    def crash(self, seconds: float = 1.0) -> None:
        """The agent dies in the middle of whatever it does, and is started again."""
        begun = self.journal._db.execute("SELECT task_uuid FROM task WHERE report IS NULL").fetchall()
        self.effects.crashed |= {row[0] for row in begun}
        self.stop()
        later(seconds, self.start)

    def stop(self) -> None:
        """The agent ends."""
        if self.life is not None:
            self.life.die()
            self.life = None

    def fork(self, network: Network, effects: Effects, memo: dict[int, Any]) -> Host:
        """As it is now, for another run. memo: what hosts share is shared by their copies."""
        made = Host(self.uuid, network, effects, fork_journal(self.journal))
        queue, self.world.changes = self.world.changes, None  # type: ignore[assignment]
        made.world = copy.deepcopy(self.world, memo)
        self.world.changes, made.world.changes = queue, asyncio.Queue()
        made.pace = Pace()
        return made


def fork_journal(journal: Journal) -> Journal:
    """The same entries in a journal of its own, page by page: to make one and fill it takes ten times as long."""
    made = copy.copy(journal)
    made._next_prune = 0.0
    made._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    journal._db.backup(made._db)
    return made


@dataclass
class Servers:
    """What the node's own agent reaches by SSH: files of backup storages, and hosts with or without an agent."""

    files: dict[str, int] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)
    installed: set[str] = field(default_factory=set)
    exports: set[str] = field(default_factory=set)


def node_handlers(servers: Servers, hosts: dict[str, Host], make: Callable[[str], Host], pace: Pace) -> list[Any]:
    """The tasks of the node's own agent, over servers that are only said to be there."""

    class Own(Handler[Any, Any]):
        async def run(self, args: Any, work: Work) -> Any:
            await pace.before(type(args).__name__, work)
            return self.apply(args)

        def apply(self, args: Any) -> Any:
            raise NotImplementedError

    class Connect(Own, task=ConnectSftpBackupStorageTask, result=ConnectSftpBackupStorageResult):
        def apply(self, args: Any) -> Any:
            return ConnectSftpBackupStorageResult(
                total_capacity=1 << 40, available_capacity=(1 << 40) - sum(servers.files.values()), host_key="key"
            )

    class Download(Own, task=DownloadImageTask, result=DownloadImageResult):
        def apply(self, args: Any) -> Any:
            path = f"{args.storage_url}/images/{args.image_uuid}/{args.image_uuid}.{args.format}"
            servers.files[path] = IMAGE_BYTES
            servers.downloads.append(path)
            return self._result(path)

        def _result(self, path: str) -> Any:
            return DownloadImageResult(
                install_path=path, size=DISK_BYTES, actual_size=servers.files[path], sha256="0" * 64
            )

        async def probe(self, args: Any) -> Any:
            path = f"{args.storage_url}/images/{args.image_uuid}/{args.image_uuid}.{args.format}"
            return self._result(path) if path in servers.files else None

    class Delete(Own, task=DeleteImageTask, result=DeleteImageResult):
        def apply(self, args: Any) -> Any:
            servers.files.pop(args.install_path, None)
            return DeleteImageResult()

    class Deploy(Own, task=DeployKvmAgentTask, result=DeployKvmAgentResult):
        def apply(self, args: Any) -> Any:
            servers.installed.add(args.host_uuid)
            (hosts.get(args.host_uuid) or make(args.host_uuid)).start()
            return DeployKvmAgentResult(host_key="key")

    class Remove(Own, task=RemoveKvmAgentTask, result=RemoveKvmAgentResult):
        def apply(self, args: Any) -> Any:
            servers.installed.discard(args.host_uuid)
            if args.host_uuid in hosts:
                hosts[args.host_uuid].stop()
            return RemoveKvmAgentResult()

    class ConnectStore(Own, task=ConnectImageStoreTask, result=ConnectImageStoreResult):
        """It holds one image that nobody knows."""

        def apply(self, args: Any) -> Any:
            found = StoredImage(uuid=STORED, name="found", format="qcow2", size=DISK_BYTES, actual_size=IMAGE_BYTES)
            return ConnectImageStoreResult(
                total_capacity=1 << 40, available_capacity=1 << 40, host_key="key", certificate="c", images=[found]
            )

    class Clean(Own, task=CleanImageStoreTask, result=CleanImageStoreResult):
        def apply(self, args: Any) -> Any:
            return CleanImageStoreResult(total_capacity=1 << 40, available_capacity=1 << 39)

    class Export(Own, task=ExportImageTask, result=ExportImageResult):
        def apply(self, args: Any) -> Any:
            servers.exports.add(args.image_uuid)
            return ExportImageResult(path="/exports/t/i.qcow2", md5="0" * 32)

    class Measure(Own, task=MeasureImageTask, result=MeasureImageResult):
        def apply(self, args: Any) -> Any:
            return MeasureImageResult(actual_size=IMAGE_BYTES, digest="0" * 32 if args.algorithm else "")

    class Unexport(Own, task=DeleteExportedImageTask, result=DeleteExportedImageResult):
        def apply(self, args: Any) -> Any:
            servers.exports.discard(args.image_uuid)
            return DeleteExportedImageResult()

    class Stop(Own, task=StopImageStoreTask, result=StopImageStoreResult):
        def apply(self, args: Any) -> Any:
            return StopImageStoreResult()

    stores = [ConnectStore(), Clean(), Export(), Unexport(), Stop(), Measure()]
    return [Connect(), Download(), Delete(), Deploy(), Remove(), *stores]


__all__ = ["Effects", "Host", "Servers", "TaskError", "Watched", "fork_journal", "node_handlers"]
