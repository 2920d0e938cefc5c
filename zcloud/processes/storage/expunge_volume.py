"""Removes data volumes for good, and answers for volumes when what they rest on is deleted (VOL-02)."""

from __future__ import annotations

from zcloud.domain.compute.data_volumes import is_root
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.operations.global_config import setting, setting_int
from zcloud.domain.storage.snapshots import forget_volume
from zcloud.domain.storage.volume import Volume, VolumeState
from zcloud.domain.storage.volume_room import is_served, must_serve
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.job import Job, JobQueue, StepState
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Task, Workflow, submit
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.infrastructure.host_debt import owe_files
from zcloud.processes.operations.deletion import GUARDS, REACTIONS, STEPS, on_delete
from zcloud.processes.storage.volume_tasks import delete_task, files
from zcloud.processes.watch import Watch


async def delete_files(unit: Unit, job: Job) -> Task | None:
    """What lies on a host that is gone is gone with it."""
    volume = await unit.get(Volume, job.resource_uuid)
    disk = await files(unit, volume)
    host = await unit.find(Host, disk.host_uuid) if disk.install_path else None
    if host is None:
        return None
    await must_reach(unit, host.uuid, "delete the volume")
    return await delete_task(unit, volume)


DELETE_FILES = Step("delete_files", delete_files, timeout=300, tolerant=True)


class ExpungeVolume(Workflow, name="expunge_volume", version=1, title="expunge volume"):
    """For ever: the files, their room on the storage, and the record."""

    removes = True
    table = (DELETE_FILES,)

    async def begin(self, unit: Unit, job: Job) -> None:
        volume = await unit.get(Volume, job.resource_uuid)
        (await files(unit, volume)).must_be(volume, "expunged", VolumeState.DELETED)
        await must_serve(unit, volume, "expunged")
        volume.begin_deletion(job.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        volume = await unit.get(Volume, job.resource_uuid)
        await owe_files(unit, job, volume)
        await forget_volume(unit, volume)

    async def fail(self, unit: Unit, job: Job) -> None:
        volume = await unit.get(Volume, job.resource_uuid)
        if job.steps[0].state is StepState.DONE:  # cancelled too late: there is nothing left to recover
            await forget_volume(unit, volume)
        else:
            volume.abort_deletion(job.error)


class VolumeExpunge(Watch, name="volume_expunge", interval=("volume", "expungeInterval")):
    """With dataVolume policy Never, volumes stay until somebody expunges them."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].where("volume", status=VolumeState.DELETED.value, type="Data"):
            await self.decide("its time in the recycle bin is over", lambda unit, uuid=uuid: expunge(unit, uuid))


async def expunge(unit: Unit, uuid: str) -> None:
    """Whether its time has come is decided on the newest facts."""
    volume = await unit.find(Volume, uuid)
    if volume is None or volume.deleting_job or await setting(unit, "volume", "deletionPolicy", volume) == "Never":
        return
    disk = await files(unit, volume)
    over = disk.deleted_date + await setting_int(unit, "volume", "expungePeriod", volume) * SECOND
    queue = await unit.companion(JobQueue, volume)
    due = disk.status is VolumeState.DELETED and unit.now >= over and not queue.jobs
    if due and await is_served(unit, volume):
        await submit(unit, "expunge_volume", volume)


# -- deletions of what a volume rests on

STEPS["volume"] = (DELETE_FILES,)


async def must_be_detached(unit: Unit, volume: Resource, job: Job) -> None:
    """No guest loses its disk while it runs."""
    assert isinstance(volume, Volume)
    if await unit.find(VmInstance, volume.vm_instance_uuid) is not None:
        text = f'volume "{volume.name}" is attached to VM {volume.vm_instance_uuid}; detach it first'
        raise precondition(Reason.STILL_IN_USE, text, vm_instance_uuid=volume.vm_instance_uuid)


GUARDS.setdefault("volume", []).append(must_be_detached)


@on_delete("volume")
async def forget_it(unit: Unit, volume: Resource) -> None:
    """Every book forgets it."""
    assert isinstance(volume, Volume)
    if volume.deleting_job:
        await owe_files(unit, await unit.get(Job, volume.deleting_job), volume)
    await forget_volume(unit, volume)


@on_delete("disk_offering")
async def lose_offering(unit: Unit, offering: Resource) -> None:
    """Volumes keep their size."""
    for uuid in await unit.port("views").where("volume", disk_offering_uuid=offering.uuid):
        volume = await unit.find(Volume, uuid)
        if volume is not None:
            volume.lose_offering()


async def delete_volume_of(unit: Unit, child: Resource, parent: Resource, deletion: dict[str, str]) -> SubJob:
    """A root volume goes with its VM, and the VM with it; a data volume is taken from its VM, and goes alone."""
    assert isinstance(child, Volume)
    vm = await unit.find(VmInstance, child.vm_instance_uuid) if child.vm_instance_uuid else None
    if vm is not None and not is_root(child):
        return SubJob("detach_data_volume", vm, {**deletion, "volume_uuid": child.uuid})
    gone = vm or child
    return SubJob("delete_resource", gone, {**deletion, "kind": gone.kind})


REACTIONS["volume", "primary_storage"] = delete_volume_of
REACTIONS["volume", "account"] = delete_volume_of
