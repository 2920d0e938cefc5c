"""Brings volumes back to what snapshots hold: one, or all of a VM to a group (SNP-01, SNP-03, VM-14)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.data_volumes import must_work_on, vm_of
from zcloud.domain.compute.machine import answers, machine
from zcloud.domain.compute.vm_instance import DesiredState, VmInstance
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.snapshots import Chained, chained, facts_of, reverted
from zcloud.domain.storage.volume import VolumeState
from zcloud.domain.storage.volume_room import claim_size, must_serve
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow, submit
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.start_steps import touched
from zcloud.processes.storage.snapshot_tasks import delete_files_task, next_path, revert_task


async def pairs(unit: Unit, job: Job) -> list[tuple[Chained, str]]:
    """Each volume with the uuid of the snapshot that it goes back to."""
    uuids = zip(job.args["volume_uuids"], job.args["snapshot_uuids"], strict=True)
    return [(await chained(unit, volume), snapshot) for volume, snapshot in uuids]


async def revert(unit: Unit, job: Job) -> Task:
    """New files, for all of them."""
    found = await pairs(unit, job)
    await must_reach(unit, found[0][0].disk.host_uuid, "revert the volume")
    return revert_task(job, found)


async def were_reverted(unit: Unit, job: Job, result: Any) -> None:
    """From now on they are written to."""
    for it, snapshot in await pairs(unit, job):
        await reverted(unit, it, snapshot, next_path(it, job))


async def discard(unit: Unit, job: Job) -> Task | None:
    """The new files, while nothing is written to them."""
    files = [(it.volume.uuid, next_path(it, job)) for it, _ in await pairs(unit, job) if not _done(it, job)]
    host_uuid = (await chained(unit, job.args["volume_uuids"][0])).disk.host_uuid
    if not files or not touched(job, "revert") or not await answers(unit, host_uuid):
        return None
    return delete_files_task(host_uuid, files)


def _done(it: Chained, job: Job) -> bool:
    return it.disk.install_path == next_path(it, job)


async def sweep(unit: Unit, job: Job) -> Task | None:
    """The files that nothing needs any more; they are swept with the next snapshot that goes if this fails."""
    found = await pairs(unit, job)
    files = [(it.volume.uuid, path) for it, _ in found for path in it.chain.trash]
    return delete_files_task(found[0][0].disk.host_uuid, files) if files else None


async def swept(unit: Unit, job: Job, result: Any) -> None:
    """Gone."""
    for it, _ in await pairs(unit, job):
        it.chain.swept()


class RevertVolumes(Workflow, name="revert_volumes", version=1, title="revert"):
    """args: volume_uuids, snapshot_uuids, in the same order; start_after."""

    table = (
        Step("revert", revert, were_reverted, undo=discard, timeout=300),
        Step("sweep", sweep, swept, timeout=300, forgive=("do",)),
    )

    async def begin(self, unit: Unit, job: Job) -> None:
        for it, uuid in await pairs(unit, job):
            await must_work_on(unit, it.volume, job)
            await must_serve(unit, it.volume, "reverted")
            vm = await vm_of(unit, it.volume)
            if vm is not None:
                vm.status.must_allow("revert a volume of", ALLOWED["revert"])
            it.disk.must_be(it.volume, "reverted", VolumeState.READY)
            snapshot = await unit.get(VolumeSnapshot, uuid)
            snapshot.must_be_enabled()
            (await facts_of(unit, uuid)).must_be_ready(snapshot, "reverted to")
            if uuid not in it.chain.nodes:
                text = f'snapshot "{snapshot.name}" is not of volume "{it.volume.name}"'
                raise precondition(Reason.NOT_SUPPORTED, text, volume_uuid=it.volume.uuid)
            size = it.chain.nodes[uuid].volume_size
            if size > it.volume.size:
                await claim_size(unit, it.volume, size)

    async def succeed(self, unit: Unit, job: Job) -> None:
        vm = await unit.find(VmInstance, job.resource_uuid)
        if vm is not None and job.args.get("start_after"):
            vm.desire(DesiredState.RUNNING)
            nics = len((await machine(unit, vm.uuid)).nics.vm_nics)
            await submit(unit, "start_vm_instance", vm, {"nics": nics})

    async def fail(self, unit: Unit, job: Job) -> None:
        for it, _ in await pairs(unit, job):
            await claim_size(unit, it.volume, it.volume.size)
