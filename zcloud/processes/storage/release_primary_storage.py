"""Hosts and a storage part: what they have mounted for it is taken away, or owed where that cannot be done (PS-02)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.infrastructure.host_debt import OwedItem
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.nfs_primary_storage import NfsPrimaryStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity
from zcloud.kernel.job import Job, StepState
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow, submit
from zcloud.processes.infrastructure import collect_host_debt
from zcloud.processes.infrastructure.host_debt import UNREACHED, owe
from zcloud.processes.network.bridges import is_connected
from zcloud.processes.operations.deletion import CLEANUP
from zcloud.v1.primary_storage_task_pb2 import ReleasePrimaryStorageTask


async def part(unit: Unit, storage: PrimaryStorage, hosts: Iterable[Host]) -> None:
    """Before the books forget that they have it. What lies there is seen by others, and stays."""
    if not storage.spans_hosts:
        return
    connected = []
    for host in hosts:
        if await is_connected(unit, host.uuid):
            connected.append(host.uuid)
        elif storage.uuid in (await unit.companion(HostStorage, host)).shares:
            await owe_mount(unit, storage, host.uuid, UNREACHED)
    if connected:
        await submit(unit, "release_primary_storage", storage, {"hosts": connected})


async def owe_mount(unit: Unit, storage: PrimaryStorage, host_uuid: str, reason: str) -> None:
    """What the operator has mounted is the operator's."""
    if isinstance(storage, NfsPrimaryStorage):
        paths = (storage.directory,)
        await owe(unit, host_uuid, OwedItem("primary_storage", storage.uuid, paths=paths, reason=reason))


def has_it(storage: PrimaryStorage, host: Host) -> bool:
    """Also where it was detached, and attached once more meanwhile."""
    return storage.exists and host.cluster_uuid in storage.attached_cluster_uuids


async def do(number: int, unit: Unit, job: Job) -> Task | None:
    """One host."""
    host = await unit.find(Host, job.args["hosts"][number])
    storage = await unit.last(PrimaryStorage, job.resource_uuid)
    if host is None or storage is None or has_it(storage, host):
        return None
    if not (job.task_uuid or await is_connected(unit, host.uuid)):
        return None
    directory = storage.directory if isinstance(storage, NfsPrimaryStorage) else ""
    return Task(host.uuid, ReleasePrimaryStorageTask(primary_storage_uuid=storage.uuid, directory=directory))


class ReleasePrimaryStorage(Workflow, name="release_primary_storage", version=1, title="release primary storage"):
    """args: hosts. What one cannot do now it owes."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return tuple(
            Step(f"release_{n + 1}", partial(do, n), timeout=120, forgive=("do",)) for n in range(len(args["hosts"]))
        )

    async def fail(self, unit: Unit, job: Job) -> None:
        """It was cancelled, which attaches nothing again."""
        await self.succeed(unit, job)

    async def succeed(self, unit: Unit, job: Job) -> None:
        storage = await unit.last(PrimaryStorage, job.resource_uuid)
        for host_uuid, step in zip(job.args["hosts"], job.steps, strict=True):
            host = await unit.find(Host, host_uuid)
            if host is None or storage is None:
                continue
            if has_it(storage, host):
                # A connect may have prepared it just before it was released.
                if storage.uuid in (await unit.companion(HostStorage, host)).shares:
                    await submit(
                        unit, "prepare_primary_storages", host, {"host": host_uuid, "storages": [storage.uuid]}
                    )
            elif step.state is not StepState.DONE:
                await owe_mount(unit, storage, host_uuid, step.error or UNREACHED)


async def storage_gone(unit: Unit, storage: Resource) -> None:
    """Its hosts owe what they have mounted, and those that are connected are asked for it at once."""
    assert isinstance(storage, PrimaryStorage)
    for uuid in (await unit.companion(PrimaryStorageCapacity, storage)).hosts:
        host = await unit.find(Host, uuid)
        if host is not None and isinstance(storage, NfsPrimaryStorage):
            await owe_mount(unit, storage, uuid, "the storage was deleted")
            if await is_connected(unit, uuid):
                await collect_host_debt.connected(unit, host)


# Before the others forget which hosts had it.
CLEANUP.setdefault("primary_storage", []).insert(0, storage_gone)
