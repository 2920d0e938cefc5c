"""Clones a VM: its volumes are copied as they are at one moment, then the new VM starts with them (VM-24, VM-25).

While they are copied the original's queue is held, so that nothing starts, stops or changes it; afterwards it is free.
"""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.clones import must_be_as_planned
from zcloud.domain.compute.machine import forget, machine, stopped
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.storage.volume import Volume, VolumeState
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Task, Workflow
from zcloud.processes.compute import new_volumes, start_steps, stop_steps
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.start_steps import touched
from zcloud.processes.storage.snapshot_tasks import delete_files_task
from zcloud.processes.storage.volume_tasks import files, user_of
from zcloud.v1.volume_task_pb2 import CopyVolumesResult, CopyVolumesTask, VolumeCopy

COPY_SECONDS = 6 * 3600


async def _pairs(unit: Unit, job: Job) -> list[tuple[Volume, Volume]]:
    return [(await unit.get(Volume, source), await unit.get(Volume, copy)) for source, copy in job.args["pairs"]]


async def copy(unit: Unit, job: Job) -> Task:
    """All of them, on the host where they lie."""
    pairs = await _pairs(unit, job)
    host_uuid = (await files(unit, pairs[0][0])).host_uuid
    await must_reach(unit, host_uuid, "copy the volumes")
    copies = [
        VolumeCopy(
            source_uuid=source.uuid,
            source_path=(await files(unit, source)).install_path,
            volume_uuid=made.uuid,
            path=(await files(unit, made)).install_path,
            size=made.size,
        )
        for source, made in pairs
    ]
    return Task(host_uuid, CopyVolumesTask(vm_instance_uuid=await user_of(unit, pairs[0][0]), copies=copies))


async def copied(unit: Unit, job: Job, result: CopyVolumesResult) -> None:
    """They are there."""
    sizes = {one.volume_uuid: one.actual_size for one in result.volumes}
    for _, made in await _pairs(unit, job):
        (await files(unit, made)).instantiated(sizes.get(made.uuid, 0))


async def discard(unit: Unit, job: Job) -> Task | None:
    """The copies; what is not there is removed already."""
    found = []
    host_uuid = ""
    for _, made in await _pairs(unit, job):
        disk = await files(unit, made)
        if disk.status is not VolumeState.NOT_INSTANTIATED:
            found.append((made.uuid, disk.install_path))
            host_uuid = disk.host_uuid
    return delete_files_task(host_uuid, found) if found else None


class CopyVmVolumes(Workflow, name="copy_vm_volumes", version=1, title="copy volumes of VM"):
    """args: pairs, of a volume and its copy to be."""

    table = (Step("copy", copy, copied, undo=discard, timeout=COPY_SECONDS),)

    async def begin(self, unit: Unit, job: Job) -> None:
        await must_be_as_planned(unit, job.resource_uuid, job.args["pairs"])


# -- the new VM


async def copy_volumes(unit: Unit, job: Job) -> SubJob:
    """In the original's queue."""
    source = await unit.get(VmInstance, job.args["source"])
    return SubJob("copy_vm_volumes", source, {"pairs": job.args["pairs"]})


async def discard_copies(unit: Unit, job: Job) -> Task | None:
    """Nothing is left of a VM that could not be made."""
    return await discard(unit, job) if touched(job, "copy_volumes") else None


class CloneVmInstance(Workflow, name="clone_vm_instance", version=1, title="clone VM to"):
    """args: source, pairs, nics; strategy, what the clone is brought to; CreateStopped is started first."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        made = (
            Step("copy_volumes", copy_volumes, undo=discard_copies, timeout=COPY_SECONDS),
            *start_steps.boot_steps(args["nics"]),
        )
        return (*made, *stop_steps.steps(args["nics"])) if args.get("strategy") == "CreateStopped" else made

    async def succeed(self, unit: Unit, job: Job) -> None:
        if job.args.get("strategy") == "CreateStopped":
            await stopped(unit, await machine(unit, job.resource_uuid))

    async def fail(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        unit.because(it.vm, f"it could not be created: {job.error}")
        await new_volumes.forget_all(unit, it)
        await forget(unit, await machine(unit, job.resource_uuid))
