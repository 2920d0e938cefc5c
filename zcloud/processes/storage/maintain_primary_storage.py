"""Takes a primary storage into maintenance: VMs whose volumes lie there are stopped (behaviours 4).

Its state is Maintenance from the beginning, so that no VM starts behind the job's back; where a VM cannot be stopped,
it is what it was before, for an operator must not take away a disk on which a guest still writes.
"""

from __future__ import annotations

from zcloud.domain.compute.machine import machine
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import AT_REST
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.primary_storage_state import PrimaryStorageState
from zcloud.domain.storage.volume import Volume
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Workflow

EVENTS = {PrimaryStorageState.ENABLED: "enable", PrimaryStorageState.DISABLED: "disable"}


async def next_vm(unit: Unit, job: Job) -> SubJob | None:
    """The first VM with a volume there that is not at rest; none any more when the storage was enabled meanwhile."""
    storage = await unit.find(PrimaryStorage, job.resource_uuid)
    if storage is None or storage.state is not PrimaryStorageState.MAINTENANCE:
        return None
    for uuid in await unit.port("views").where("volume", primary_storage_uuid=storage.uuid):
        volume = await unit.find(Volume, uuid)
        vm = (
            await unit.find(VmInstance, volume.vm_instance_uuid)
            if volume is not None and volume.vm_instance_uuid
            else None
        )
        if vm is None:
            continue
        it = await machine(unit, vm.uuid)
        if it.status.state not in AT_REST:
            reason = f'primary storage "{storage.name}" is taken into maintenance'
            return SubJob("stop_vm_instance", vm, {"type": "Grace", "nics": len(it.nics.vm_nics), "reason": reason})
    return None


class MaintainPrimaryStorage(Workflow, name="maintain_primary_storage", version=1, title="take into maintenance"):
    """args: before, the state that it goes back to where a VM cannot be stopped. VMs that were stopped stay so."""

    table = (Step("stop_vms", next_vm, timeout=6 * 3600, repeat=True),)

    async def fail(self, unit: Unit, job: Job) -> None:
        storage = await unit.find(PrimaryStorage, job.resource_uuid)
        if storage is not None and storage.state is PrimaryStorageState.MAINTENANCE:
            unit.because(storage, f"it could not be taken into maintenance: {job.error}")
            storage.change_state(EVENTS[PrimaryStorageState(job.args["before"])])
