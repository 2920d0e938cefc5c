"""Tells connected hosts whom to ask on a storage's network, when others have come there or gone (PS-05)."""

from __future__ import annotations

from functools import partial
from typing import Any

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage.nfs_primary_storage import NfsPrimaryStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.storage_network_hosts import PrimaryStorageNetwork
from zcloud.kernel.job import Job, JobQueue, StepState
from zcloud.kernel.settle import follows
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow, submit
from zcloud.processes.infrastructure.prepare import ON_CONNECTED
from zcloud.processes.network.bridges import is_connected
from zcloud.processes.storage.local_storage import attached_to
from zcloud.processes.storage.storage_network import network_of, take_network
from zcloud.v1.primary_storage_task_pb2 import WatchStorageNetworkResult, WatchStorageNetworkTask

NAME = "watch_storage_network"
# After so many a host is told by its next connect, or when there is news again.
TRIES = 3


async def do(number: int, unit: Unit, job: Job) -> Task | None:
    """A host that is away is told by its next connect."""
    host_uuid = job.args["hosts"][number]
    storage = await unit.find(PrimaryStorage, job.resource_uuid)
    if storage is None or not (job.task_uuid or await is_connected(unit, host_uuid)):
        return None
    network = await network_of(unit, storage, host_uuid)
    if network is None:
        return None
    server = storage.url.partition(":")[0] if isinstance(storage, NfsPrimaryStorage) else ""
    task = WatchStorageNetworkTask(primary_storage_uuid=storage.uuid, network=network, server=server)
    return Task(host_uuid, task)


async def done(number: int, unit: Unit, job: Job, result: WatchStorageNetworkResult) -> None:
    """What it sees with them."""
    host = await unit.find(Host, job.args["hosts"][number])
    storage = await unit.find(PrimaryStorage, job.resource_uuid)
    if host is not None and storage is not None and host.cluster_uuid in storage.attached_cluster_uuids:
        await take_network(unit, storage, host, result.network)


class WatchStorageNetwork(Workflow, name=NAME, version=1, title="tell hosts who is on the network of"):
    """args: hosts; failed: those that could not be told before, as often. One that cannot be told holds up nobody."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(
            Step(f"tell_{n + 1}", partial(do, n), partial(done, n), timeout=60, forgive=("do",))
            for n in range(len(args["hosts"]))
        )

    async def succeed(self, unit: Unit, job: Job) -> None:
        """More may have come meanwhile."""
        storage = await unit.find(PrimaryStorage, job.resource_uuid)
        if storage is not None:
            told = zip(job.args["hosts"], job.steps, strict=True)
            deaf = [host for host, step in told if step.state is not StepState.DONE]
            await _submit(unit, storage, (*job.args["failed"], *deaf), after=job.uuid)


async def _submit(unit: Unit, storage: PrimaryStorage, failed: tuple[str, ...] = (), after: str = "") -> None:
    """A job for those that are not told yet, unless one is at it: that looks again when it ends."""
    if not storage.exists or storage.deleting_job or not storage.storage_network_cidr:
        return
    late = (await unit.companion(PrimaryStorageNetwork, storage)).uninformed()
    # What they are is only looked at: hosts that come and go must not be in the way of this.
    look = Unit(unit.cloud, unit.context, unit.now)
    late = tuple(uuid for uuid in late if failed.count(uuid) < TRIES)
    hosts = [uuid for uuid in late if await is_connected(_where(unit, look, uuid), uuid)]
    if not hosts:
        return
    for uuid in (await unit.companion(JobQueue, storage)).jobs:
        if uuid != after and (await _where(unit, look, uuid).get(Job, uuid)).workflow == NAME:
            return
    # Who has called waits for what was asked for, and not for this.
    asked = unit.job_uuid
    await submit(unit, NAME, storage, {"hosts": hosts, "failed": list(failed)})
    unit.job_uuid = asked


def _where(unit: Unit, look: Unit, uuid: str) -> Unit:
    return unit if uuid in unit.seen else look


@follows
async def books_changed(unit: Unit) -> None:
    """Whatever has changed them."""
    for _, books in list(unit.changed()):
        if isinstance(books, PrimaryStorageNetwork):
            storage = await unit.find(PrimaryStorage, books.uuid)
            if storage is not None:
                await _submit(unit, storage)


async def connected(unit: Unit, host: Host) -> None:
    """Others may have come while it was connecting, and was not to be disturbed."""
    for uuid in await attached_to(unit, host):
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is not None:
            await _submit(unit, storage)


ON_CONNECTED.append(connected)
