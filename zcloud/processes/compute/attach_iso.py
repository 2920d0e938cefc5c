"""Puts ISOs into the CD drives of VMs and takes them out, of VMs that run at once (VM-06, VM-31).

The books say so from the beginning of the job; where a host cannot follow, they are set back, unless nobody can say
what became of it: then the VM keeps the ISO, which it may have in its drive.
"""

from __future__ import annotations

from zcloud.domain.compute.data_volumes import alive
from zcloud.domain.compute.isos import drives, insert, take_back, usable_iso
from zcloud.domain.compute.machine import Machine, answers, machine
from zcloud.domain.compute.reimage import place_of
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.image import Image
from zcloud.kernel.errors import Reason, not_found, precondition
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.start_steps import CACHE_SECONDS
from zcloud.processes.compute.stop_steps import uncertain
from zcloud.processes.storage import image_cache
from zcloud.v1.image_task_pb2 import CacheImageResult
from zcloud.v1.vm_instance_task_pb2 import ChangeCdTask, VmCdDrive

CHANGE_SECONDS = 60


async def _both(unit: Unit, job: Job) -> tuple[Machine, Image]:
    # An ISO that is gone may still have to be taken out.
    iso = await unit.last(Image, job.args["iso_uuid"])
    if iso is None:
        raise not_found("image", job.args["iso_uuid"])
    return await machine(unit, job.resource_uuid), iso


async def cache(unit: Unit, job: Job) -> Task | None:
    """The ISO, unless the host has it."""
    it, iso = await _both(unit, job)
    storage, host = await place_of(unit, it)
    return await image_cache.cache_task(unit, iso, storage, host.uuid)


async def cached(unit: Unit, job: Job, result: CacheImageResult) -> None:
    """It serves other VMs as well."""
    it, iso = await _both(unit, job)
    storage, host = await place_of(unit, it)
    await image_cache.cached(unit, iso, storage, host.uuid, result)


async def _change(unit: Unit, job: Job, *, put: bool) -> Task | None:
    """Of a guest that runs; one that does not is told at its next start."""
    it, iso = await _both(unit, job)
    drive = (await drives(unit, it.vm)).holding(iso.uuid)
    if drive is None or not alive(it):
        return None
    storage, _ = await place_of(unit, it)
    path = image_cache.cache_path(storage, iso) if put else ""
    task = ChangeCdTask(vm_instance_uuid=it.vm.uuid, drive=VmCdDrive(device_id=drive.device_id, path=path))
    return Task(it.status.host_uuid, task)


async def _reached(unit: Unit, job: Job) -> bool:
    return await answers(unit, (await machine(unit, job.resource_uuid)).status.host_uuid)


async def put_in(unit: Unit, job: Job) -> Task | None:
    """Into the drive of a guest that runs."""
    task = await _change(unit, job, put=True)
    if task is not None:
        await must_reach(unit, task.target, "put the ISO into the VM's drive")
    return task


async def take_out(unit: Unit, job: Job) -> Task | None:
    """Out of it."""
    task = await _change(unit, job, put=False)
    if task is not None:
        await must_reach(unit, task.target, "take the ISO out of the VM's drive")
    return task


async def put_back(unit: Unit, job: Job) -> Task | None:
    """Nobody is asked when the host is not there to answer."""
    return await _change(unit, job, put=True) if await _reached(unit, job) else None


async def take_away(unit: Unit, job: Job) -> Task | None:
    """Nobody is asked when the host is not there to answer."""
    return await _change(unit, job, put=False) if await _reached(unit, job) else None


class AttachIso(Workflow, name="attach_iso", version=1, title="attach ISO to VM"):
    """args: iso_uuid; cd_rom_uuid, the drive that was asked for."""

    table = (
        Step("cache_image", cache, cached, timeout=CACHE_SECONDS),
        Step("put_in", put_in, undo=take_away, timeout=CHANGE_SECONDS, forgive=("undo",)),
    )

    async def begin(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        iso = await usable_iso(unit, job.args["iso_uuid"])
        await insert(unit, it, iso, job.args.get("cd_rom_uuid", ""))

    async def succeed(self, unit: Unit, job: Job) -> None:
        it, iso = await _both(unit, job)
        await image_cache.used(unit, iso.uuid, it.disk, stands=False)

    async def fail(self, unit: Unit, job: Job) -> None:
        if not uncertain(job, "put_in"):
            await take_back(unit, *await _both(unit, job))


class DetachIso(Workflow, name="detach_iso", version=1, title="detach ISO from VM"):
    """args: iso_uuid."""

    table = (Step("take_out", take_out, undo=put_back, timeout=CHANGE_SECONDS, forgive=("undo",)),)

    async def begin(self, unit: Unit, job: Job) -> None:
        it, iso = await _both(unit, job)
        it.status.must_allow("detach an ISO from", ALLOWED["attach_volume"])
        if (await drives(unit, it.vm)).holding(iso.uuid) is None:
            text = f'ISO "{iso.name}" lies in no CD drive of VM "{it.vm.name}"'
            raise precondition(Reason.NOT_ATTACHED, text, iso_uuid=iso.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        (await drives(unit, (await machine(unit, job.resource_uuid)).vm)).eject(job.args["iso_uuid"])


class EjectIso(DetachIso, name="eject_iso", version=1, title="take the ISO that is deleted from VM"):
    """args: iso_uuid. In whatever state the VM is: one that no host has is told at its next start."""

    async def begin(self, unit: Unit, job: Job) -> None:
        await _both(unit, job)
