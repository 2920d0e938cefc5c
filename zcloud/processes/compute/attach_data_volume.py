"""Attaches data volumes to VMs and detaches them, of VMs that run at once (VOL-02).

The books say so from the beginning of the job; where a host cannot follow, they are set back, unless nobody can say
what became of it: then the VM keeps the volume, which it may have open.
"""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.data_volumes import alive, attach
from zcloud.domain.compute.machine import Machine, answers, machine
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.volume import Volume, VolumeState
from zcloud.domain.storage.volume_room import release_room
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.start_steps import touched
from zcloud.processes.compute.stop_steps import uncertain
from zcloud.processes.storage.volume_tasks import create_task, delete_task, files, plug_task, unplug_task
from zcloud.v1.volume_task_pb2 import CreateDataVolumeResult

PLUG_SECONDS = 120


async def _both(unit: Unit, job: Job) -> tuple[Machine, Volume]:
    return await machine(unit, job.resource_uuid), await unit.get(Volume, job.args["volume_uuid"])


async def create(unit: Unit, job: Job) -> Task | None:
    """The file of a volume that was a record only."""
    _, volume = await _both(unit, job)
    return await create_task(unit, volume) if (await files(unit, volume)).status is VolumeState.CREATING else None


async def created(unit: Unit, job: Job, result: CreateDataVolumeResult) -> None:
    """It is there."""
    _, volume = await _both(unit, job)
    (await files(unit, volume)).instantiated(result.actual_size)


async def discard(unit: Unit, job: Job) -> Task | None:
    """Only what this job has made, and nothing that a guest may have open."""
    _, volume = await _both(unit, job)
    if not touched(job, "create") or uncertain(job, "plug_in"):
        return None
    return await delete_task(unit, volume) if await answers(unit, (await files(unit, volume)).host_uuid) else None


async def discarded(unit: Unit, job: Job, result: Any) -> None:
    """Its room is free again."""
    _, volume = await _both(unit, job)
    await release_room(unit, volume)


async def plug_in(unit: Unit, job: Job) -> Task | None:
    """Into a guest that runs; one that does not is told at its next start."""
    it, volume = await _both(unit, job)
    return await plug_task(unit, volume, it.vm.platform) if alive(it) else None


async def unplug(unit: Unit, job: Job) -> Task | None:
    """Out of a guest that runs. Nobody is asked when the host is not there to answer."""
    it, volume = await _both(unit, job)
    return await unplug_task(unit, volume) if alive(it) and await answers(unit, it.status.host_uuid) else None


class AttachDataVolume(Workflow, name="attach_data_volume", version=1, title="attach volume to VM"):
    """args: volume_uuid."""

    table = (
        Step("create", create, created, undo=discard, undone=discarded, timeout=300),
        Step("plug_in", plug_in, undo=unplug, timeout=PLUG_SECONDS, forgive=("undo",)),
    )

    async def begin(self, unit: Unit, job: Job) -> None:
        it, volume = await _both(unit, job)
        if volume.deleting_job:
            text = f'volume "{volume.name}" is being deleted by job {volume.deleting_job}'
            raise precondition(Reason.BEING_DELETED, text, job_uuid=volume.deleting_job)
        await attach(unit, it, volume)

    async def fail(self, unit: Unit, job: Job) -> None:
        it, volume = await _both(unit, job)
        if uncertain(job, "plug_in"):
            return
        if (await files(unit, volume)).status is VolumeState.CREATING and not uncertain(job, "create"):
            await release_room(unit, volume)
        volume.detach()
        it.volumes.detach(volume.uuid)


async def _detach_begins(unit: Unit, job: Job) -> None:
    it, volume = await _both(unit, job)
    if volume.vm_instance_uuid != it.vm.uuid:
        text = f'volume "{volume.name}" is not attached to VM "{it.vm.name}"'
        raise precondition(Reason.NOT_ATTACHED, text, vm_instance_uuid=it.vm.uuid)
    it.status.must_allow("detach a volume from", ALLOWED["attach_volume"])


async def take_out(unit: Unit, job: Job) -> Task | None:
    """Out of a guest that runs, which has to let go of it."""
    it, volume = await _both(unit, job)
    return await unplug_task(unit, volume) if alive(it) else None


async def put_back(unit: Unit, job: Job) -> Task | None:
    """Into it again."""
    it, volume = await _both(unit, job)
    if not alive(it) or not await answers(unit, it.status.host_uuid):
        return None
    return await plug_task(unit, volume, it.vm.platform)


class DetachDataVolume(Workflow, name="detach_data_volume", version=1, title="detach volume from VM"):
    """args: volume_uuid. A guest that does not let go of it keeps it."""

    table = (Step("take_out", take_out, undo=put_back, timeout=PLUG_SECONDS, forgive=("undo",)),)

    async def begin(self, unit: Unit, job: Job) -> None:
        await _detach_begins(unit, job)

    async def succeed(self, unit: Unit, job: Job) -> None:
        it, volume = await _both(unit, job)
        volume.detach()
        it.volumes.detach(volume.uuid)
