"""Makes the file of a data volume whose room was claimed in the append that accepted it (VOL-03)."""

from __future__ import annotations

from zcloud.domain.compute.machine import answers
from zcloud.domain.storage.snapshots import forget_volume
from zcloud.domain.storage.volume import Volume, VolumeState
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.storage.volume_tasks import create_task, delete_task, files
from zcloud.v1.volume_task_pb2 import CreateDataVolumeResult


async def create(unit: Unit, job: Job) -> Task | None:
    """The empty file."""
    volume = await unit.get(Volume, job.resource_uuid)
    return await create_task(unit, volume) if (await files(unit, volume)).status is VolumeState.CREATING else None


async def created(unit: Unit, job: Job, result: CreateDataVolumeResult) -> None:
    """It is there."""
    (await files(unit, await unit.get(Volume, job.resource_uuid))).instantiated(result.actual_size)


async def delete(unit: Unit, job: Job) -> Task | None:
    """Nothing of it is left."""
    volume = await unit.get(Volume, job.resource_uuid)
    return await delete_task(unit, volume) if await answers(unit, (await files(unit, volume)).host_uuid) else None


class CreateDataVolume(Workflow, name="create_data_volume", version=1, title="create volume"):
    """A volume that cannot be made leaves nothing: its uuid may be used again at once."""

    table = (Step("create", create, created, undo=delete, timeout=300),)

    async def fail(self, unit: Unit, job: Job) -> None:
        volume = await unit.get(Volume, job.resource_uuid)
        unit.because(volume, f"it could not be created: {job.error}")
        await forget_volume(unit, volume)
