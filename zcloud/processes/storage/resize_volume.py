"""Lets a volume grow, with the VM that has it; a guest that runs sees the new size at once (VM-10, VOL-04)."""

from __future__ import annotations

from zcloud.domain.compute.data_volumes import must_work_on, vm_of
from zcloud.domain.compute.machine import answers
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.volume import Volume, VolumeState
from zcloud.domain.storage.volume_room import claim_size, must_serve
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.start_steps import touched
from zcloud.processes.compute.stop_steps import uncertain
from zcloud.processes.storage.volume_tasks import files, read_task, resize_task
from zcloud.v1.volume_task_pb2 import ReadVolumeResult, ResizeVolumeResult


async def resize(unit: Unit, job: Job) -> Task:
    """By the hypervisor where a guest runs with it."""
    return await resize_task(unit, await unit.get(Volume, job.args["volume_uuid"]), job.args["size"])


async def resized(unit: Unit, job: Job, result: ResizeVolumeResult) -> None:
    """It has this size; its claim had it before."""
    volume = await unit.get(Volume, job.args["volume_uuid"])
    volume.resized(result.size)
    (await files(unit, volume)).measured(result.actual_size)


async def read(unit: Unit, job: Job) -> Task | None:
    """A disk that has grown is never made smaller: what it really is counts."""
    volume = await unit.get(Volume, job.args["volume_uuid"])
    if not touched(job, "resize") or not await answers(unit, (await files(unit, volume)).host_uuid):
        return None
    return await read_task(unit, volume)


async def was_read(unit: Unit, job: Job, result: ReadVolumeResult) -> None:
    """The file's answer is the volume's size."""
    volume = await unit.get(Volume, job.args["volume_uuid"])
    volume.resized(result.size)


class ResizeVolume(Workflow, name="resize_volume", version=1, title="resize volume of"):
    """args: volume_uuid, size. The room is claimed when its turn comes."""

    table = (Step("resize", resize, resized, undo=read, undone=was_read, timeout=300, forgive=("undo",)),)

    async def begin(self, unit: Unit, job: Job) -> None:
        volume = await unit.get(Volume, job.args["volume_uuid"])
        (await files(unit, volume)).must_be(volume, "resized", VolumeState.READY)
        await must_work_on(unit, volume, job)
        await must_serve(unit, volume, "resized")
        it = await vm_of(unit, volume)
        if it is not None:
            it.status.must_allow("resize a volume of", ALLOWED["attach_volume"])
        volume.must_grow_to(job.args["size"])
        await claim_size(unit, volume, job.args["size"])

    async def fail(self, unit: Unit, job: Job) -> None:
        volume = await unit.get(Volume, job.args["volume_uuid"])
        # Where nobody can say, it may have grown: then its room stays claimed.
        if not uncertain(job, "resize"):
            await claim_size(unit, volume, volume.size)
