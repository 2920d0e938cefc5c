"""Primary storages on hosts: their directories are measured at attach and at every connect (PS-06, PS-08)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure.cluster import Cluster, ClusterAttachments
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.mounts import unprepared
from zcloud.domain.storage.nfs_primary_storage import NfsPrimaryStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity, PrimaryStorageStatus
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Make, Step, Take, Task, Workflow, submit
from zcloud.processes.infrastructure.host_watch import ON_LOST
from zcloud.processes.infrastructure.prepare import ON_BEGIN, ON_CONNECTED, prepare
from zcloud.processes.storage.release_primary_storage import has_it, owe_mount, part
from zcloud.processes.storage.storage_network import network_of, take_network
from zcloud.v1.primary_storage_task_pb2 import (
    PrepareLocalStorageResult,
    PrepareLocalStorageTask,
    PrepareNfsStorageResult,
    PrepareNfsStorageTask,
    PrepareSharedMountPointResult,
    PrepareSharedMountPointTask,
)

Prepared = PrepareLocalStorageResult | PrepareSharedMountPointResult | PrepareNfsStorageResult

TIMEOUT = 120


async def prepare_task(unit: Unit, host_uuid: str, storage: PrimaryStorage, *, connecting: bool = False) -> Task:
    """Measure its file system: of a directory that is made where it is local, and mounted where it is shared.

    connecting: in the host's connect, which does not fail where a shared storage cannot be used.
    """
    if not storage.spans_hosts:
        return Task(host_uuid, PrepareLocalStorageTask(primary_storage_uuid=storage.uuid, url=storage.url))
    first = not (await unit.companion(PrimaryStorageCapacity, storage)).used_before
    network = await network_of(unit, storage, host_uuid)
    if isinstance(storage, NfsPrimaryStorage):
        nfs = PrepareNfsStorageTask(
            primary_storage_uuid=storage.uuid,
            url=storage.url,
            mount_options=storage.mount_options,
            directory=storage.directory,
            first=first,
            network=network,
            connecting=connecting,
        )
        return Task(host_uuid, nfs)
    task = PrepareSharedMountPointTask(
        primary_storage_uuid=storage.uuid, url=storage.url, first=first, network=network, connecting=connecting
    )
    return Task(host_uuid, task)


async def take(unit: Unit, host_uuid: str, storage_uuid: str, result: Prepared) -> None:
    """Book what the host has. Where the two have parted meanwhile, it owes what it has mounted."""
    host, storage = await unit.find(Host, host_uuid), await unit.last(PrimaryStorage, storage_uuid)
    if host is None or storage is None:
        return
    if not has_it(storage, host):
        await owe_mount(unit, storage, host_uuid, "they had parted when it was mounted")
    else:
        if not isinstance(result, PrepareLocalStorageResult) and result.error:
            await unprepared(unit, storage, host, result.error)
        else:
            await allocation.measured(unit, storage, host, result.total_capacity, result.available_capacity)
        if not isinstance(result, PrepareLocalStorageResult):
            await take_network(unit, storage, host, result.network)


def step_for(number: int, host_uuid: str, storage_uuid: str) -> Step:
    """One storage on one host, as a step of a workflow whose arguments name both."""

    async def do(unit: Unit, job: Job) -> Task | None:
        storage = await unit.last(PrimaryStorage, storage_uuid)
        return await prepare_task(unit, host_uuid, storage) if storage is not None else None

    async def done(unit: Unit, job: Job, result: Prepared) -> None:
        await take(unit, host_uuid, storage_uuid, result)

    make: Make = do
    report: Take = done
    return Step(f"prepare_{number}", make, report, timeout=TIMEOUT)


# -- at attach


class AttachPrimaryStorage(Workflow, name="attach_primary_storage", version=1, title="attach primary storage"):
    """The attachment is in the books at once; where a host cannot follow it is taken back."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(step_for(n, host, args["storage"]) for n, host in enumerate(args["hosts"], 1))

    async def fail(self, unit: Unit, job: Job) -> None:
        storage = await unit.find(PrimaryStorage, job.resource_uuid)
        cluster = await unit.find(Cluster, job.args["cluster"])
        if storage is not None and cluster is not None and cluster.uuid in storage.attached_cluster_uuids:
            unit.because(storage, f"it could not be attached: {job.error}")
            hosts = [host for uuid in job.args["hosts"] if (host := await unit.find(Host, uuid)) is not None]
            await detach(unit, storage, cluster, hosts)


async def detach(unit: Unit, storage: PrimaryStorage, cluster: Cluster, hosts: list[Host]) -> None:
    """Part a storage and a cluster, in the books of all that are concerned. hosts: those of the cluster."""
    await part(unit, storage, hosts)
    storage.detach(cluster.uuid)
    (await unit.companion(ClusterAttachments, cluster)).detach_primary_storage(storage.uuid)
    for host in hosts:
        await allocation.forget(unit, storage, host)


# -- at every connect of a host


async def begin(unit: Unit, host: Host) -> None:
    """What is attached now is measured in this connect."""
    books = await unit.companion(HostStorage, host)
    books.begin_preparation(await attached_to(unit, host))


async def next_due(unit: Unit, job: Job) -> Task | None:
    """The next storage that this connect has not measured yet."""
    books = await unit.companion_of(HostStorage, job.resource_uuid)
    storage = await unit.last(PrimaryStorage, books.due[0]) if books.due else None
    return await prepare_task(unit, job.resource_uuid, storage, connecting=True) if storage is not None else None


async def due_prepared(unit: Unit, job: Job, result: Prepared) -> None:
    """One less."""
    books = await unit.companion_of(HostStorage, job.resource_uuid)
    storage_uuid = books.due[0]
    books.prepared(storage_uuid)
    await take(unit, job.resource_uuid, storage_uuid, result)


async def catch_up(unit: Unit, host: Host) -> None:
    """What was attached while the host was connecting is prepared by a job of its own."""
    books = await unit.companion(HostStorage, host)
    missed = [uuid for uuid in await attached_to(unit, host) if uuid not in books.shares]
    if missed:
        await submit(unit, "prepare_primary_storages", host, {"host": host.uuid, "storages": missed})


async def attached_to(unit: Unit, host: Host) -> tuple[str, ...]:
    """Storages of the host's cluster."""
    cluster = await unit.find(Cluster, host.cluster_uuid)
    return (await unit.companion(ClusterAttachments, cluster)).primary_storage_uuids if cluster is not None else ()


class PreparePrimaryStorages(Workflow, name="prepare_primary_storages", version=1, title="prepare primary storages of"):
    """For a host that is Connected already."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(step_for(n, args["host"], storage) for n, storage in enumerate(args["storages"], 1))


class ReconnectOnce(Workflow, name="reconnect_primary_storage", version=1, title="reconnect"):
    """As it was when the storage stayed Connected meanwhile."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(step_for(n, host, args["storage"]) for n, host in enumerate(args["hosts"], 1))


class ReconnectPrimaryStorage(ReconnectOnce, name="reconnect_primary_storage", version=2, title="reconnect"):
    """args: storage, hosts. The first that cannot ends it, and is named.

    Connecting until a host has it again: nothing is done with what lies there meanwhile (PS-19).
    """

    async def begin(self, unit: Unit, job: Job) -> None:
        storage = await unit.get(PrimaryStorage, job.resource_uuid)
        (await unit.companion(PrimaryStorageStatus, storage)).connecting()

    async def succeed(self, unit: Unit, job: Job) -> None:
        await self._settle(unit, job)

    async def fail(self, unit: Unit, job: Job) -> None:
        await self._settle(unit, job)

    async def _settle(self, unit: Unit, job: Job) -> None:
        storage = await unit.find(PrimaryStorage, job.resource_uuid)
        if storage is not None:
            await allocation.settle(unit, storage)


async def lost(unit: Unit, host: Host, reason: str) -> None:
    """What lies on a host that is not connected cannot be used."""
    del reason
    await allocation.lost(unit, host)


prepare(Step("primary_storages", next_due, due_prepared, timeout=TIMEOUT, repeat=True))
ON_BEGIN.append(begin)
ON_CONNECTED.append(catch_up)
ON_LOST.append(lost)
