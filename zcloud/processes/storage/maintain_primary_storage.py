"""Takes a primary storage into maintenance: VMs whose volumes lie there are stopped (behaviours 4).

Its state is Maintenance from the beginning, so that no VM starts behind the job's back; where a VM cannot be stopped,
it is what it was before, for an operator must not take away a disk on which a guest still writes; unless it was said
that this does not matter, for then a host that is gone for good does not stand in the way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from zcloud.domain.compute.machine import Machine, machine, reachable
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import AT_REST
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.primary_storage_state import PrimaryStorageState
from zcloud.domain.storage.volume import Volume
from zcloud.kernel.errors import Refused
from zcloud.kernel.job import Job, JobQueue
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Workflow, submit
from zcloud.processes.watch import Watch, log

EVENTS = {PrimaryStorageState.ENABLED: "enable", PrimaryStorageState.DISABLED: "disable"}


async def running(unit: Unit, storage: PrimaryStorage) -> AsyncIterator[Machine]:
    """VMs with a volume there that are not at rest."""
    for uuid in await unit.port("views").where("volume", primary_storage_uuid=storage.uuid):
        volume = await unit.find(Volume, uuid)
        vm = (
            await unit.find(VmInstance, volume.vm_instance_uuid)
            if volume is not None and volume.vm_instance_uuid
            else None
        )
        if vm is not None:
            it = await machine(unit, vm.uuid)
            if it.status.state not in AT_REST:
                yield it


def stop_args(storage: PrimaryStorage, it: Machine) -> dict[str, Any]:
    """Of the job that stops one."""
    reason = f'primary storage "{storage.name}" is taken into maintenance'
    return {"type": "Grace", "nics": len(it.nics.vm_nics), "reason": reason}


async def next_vm(unit: Unit, job: Job) -> SubJob | None:
    """The first of them; none any more when the storage was enabled meanwhile."""
    storage = await unit.find(PrimaryStorage, job.resource_uuid)
    if storage is None or storage.state is not PrimaryStorageState.MAINTENANCE:
        return None
    async for it in running(unit, storage):
        if it.vm.uuid not in job.passed_over:
            return SubJob("stop_vm_instance", it.vm, stop_args(storage, it))
    return None


class MaintainOrNot(Workflow, name="maintain_primary_storage", version=1, title="take into maintenance"):
    """args: before, the state that it goes back to where a VM cannot be stopped. VMs that were stopped stay so."""

    table = (Step("stop_vms", next_vm, timeout=6 * 3600, repeat=True),)

    async def fail(self, unit: Unit, job: Job) -> None:
        storage = await unit.find(PrimaryStorage, job.resource_uuid)
        if storage is not None and storage.state is PrimaryStorageState.MAINTENANCE:
            unit.because(storage, f"it could not be taken into maintenance: {job.error}")
            storage.change_state(EVENTS[PrimaryStorageState(job.args["before"])])


class MaintainPrimaryStorage(MaintainOrNot, name="maintain_primary_storage", version=2, title="take into maintenance"):
    """mode: Enforcing passes over VMs that cannot be stopped, which MaintenanceWatch stops when they can be."""

    table = (Step("stop_vms", next_vm, timeout=6 * 3600, repeat=True, tolerant=True),)


class MaintenanceWatch(Watch, name="maintenance_watch", interval=("primaryStorage", "maintenance.stopInterval")):
    """What still runs on a storage in maintenance is stopped as soon as its host is there."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].where("primary_storage", state="Maintenance"):
            try:
                await self.decide("it runs on a primary storage in maintenance", _stop(uuid))
            except Refused as refused:
                log.info("VMs on primary storage %s are not stopped yet: %s", uuid, refused.message)


def _stop(uuid: str) -> Callable[[Unit], Awaitable[None]]:
    async def decide(unit: Unit) -> None:
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is None or (await unit.companion(JobQueue, storage)).jobs:
            return
        async for it in running(unit, storage):
            idle = not (await unit.companion(JobQueue, it.vm)).jobs
            if idle and await reachable(unit, it.status.host_uuid) and storage.state is PrimaryStorageState.MAINTENANCE:
                await submit(unit, "stop_vm_instance", it.vm, stop_args(storage, it))

    return decide
