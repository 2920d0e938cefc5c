"""Makes the data volumes that were asked for with a VM, on its first start (VM-02, VOL-03)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.data_volumes import not_made
from zcloud.domain.compute.machine import DataDisk, Machine, machine
from zcloud.domain.storage.snapshots import forget_volume
from zcloud.domain.storage.volume import VolumeState
from zcloud.domain.storage.volume_room import release_room
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Task
from zcloud.processes.storage.volume_tasks import create_task, delete_task
from zcloud.v1.volume_task_pb2 import CreateDataVolumeResult

STEP = "create_data_volumes"


async def create(unit: Unit, job: Job) -> Task | None:
    """The next file that is yet to be made."""
    found = not_made(await machine(unit, job.resource_uuid))
    return await create_task(unit, found.volume) if found is not None else None


async def created(unit: Unit, job: Job, result: CreateDataVolumeResult) -> None:
    """It is there."""
    found = not_made(await machine(unit, job.resource_uuid))
    if found is not None:
        found.disk.instantiated(result.actual_size)


def _made(it: Machine) -> DataDisk | None:
    return next((d for d in it.data if d.disk.status in (VolumeState.CREATING, VolumeState.READY)), None)


async def discard(unit: Unit, job: Job) -> Task | None:
    """The next one of those that the job has made, or was to make: a VM that never ran has no others."""
    found = _made(await machine(unit, job.resource_uuid))
    return await delete_task(unit, found.volume) if found is not None else None


async def discarded(unit: Unit, job: Job, result: Any) -> None:
    """Its room is free again."""
    found = _made(await machine(unit, job.resource_uuid))
    if found is not None:
        await release_room(unit, found.volume)


async def release_unmade(unit: Unit, it: Machine) -> None:
    """Rooms of files that never came to be."""
    for data in it.data:
        if data.disk.status is VolumeState.CREATING:
            await release_room(unit, data.volume)


async def forget_all(unit: Unit, it: Machine) -> None:
    """The VM could not be made, and what was to be made with it goes as well."""
    for data in it.data:
        it.volumes.detach(data.volume.uuid)
        await forget_volume(unit, data.volume)
