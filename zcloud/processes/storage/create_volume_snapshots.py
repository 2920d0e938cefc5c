"""Takes snapshots of one volume, or of all volumes of a VM at one moment, running or not (SNP-01, VM-14, VOL-10)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.data_volumes import must_work_on, vm_of
from zcloud.domain.compute.machine import answers
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.snapshots import Chained, chained, cut_off, must_be_whole, plan, taken, taken_back, unplan
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot, VolumeSnapshotFacts
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.start_steps import touched
from zcloud.processes.storage.snapshot_tasks import base_of, next_path, pull_task, take_back_task, take_task
from zcloud.v1.volume_snapshot_task_pb2 import PullVolumeResult, TakeSnapshotsResult

TAKE_SECONDS = 300
# All that a volume holds may have to be read and written.
MERGE_SECONDS = 6 * 3600


async def pairs(unit: Unit, job: Job) -> list[tuple[Chained, VolumeSnapshot]]:
    """Each volume with its snapshot."""
    uuids = zip(job.args["volume_uuids"], job.args["snapshot_uuids"], strict=True)
    return [(await chained(unit, volume), await unit.get(VolumeSnapshot, snapshot)) for volume, snapshot in uuids]


async def _too_long(unit: Unit, job: Job) -> Chained | None:
    """The next volume whose snapshot begins a new tree while its file still lies on the old one."""
    for it, snapshot in await pairs(unit, job):
        facts = await unit.companion(VolumeSnapshotFacts, snapshot)
        if it.chain.tip and not facts.parent_uuid:
            return it
    return None


async def flatten(unit: Unit, job: Job) -> Task | None:
    """A new tree stands by itself: the file holds all that was in the old one."""
    it = await _too_long(unit, job)
    return await pull_task(unit, it, it.disk.install_path, await base_of(unit, it)) if it is not None else None


async def flattened(unit: Unit, job: Job, result: PullVolumeResult) -> None:
    """It does."""
    it = await _too_long(unit, job)
    if it is not None:
        await cut_off(unit, it)
        it.disk.measured(result.size)


async def take(unit: Unit, job: Job) -> Task:
    """All at one moment."""
    return await take_task(unit, job)


async def all_taken(unit: Unit, job: Job, result: TakeSnapshotsResult) -> None:
    """They are there."""
    sizes = {file.volume_uuid: file.size for file in result.files}
    for it, snapshot in await pairs(unit, job):
        size = sizes.get(it.volume.uuid, 0)
        await taken(unit, it, snapshot, new_path=next_path(it, job), size=size, quiesced=result.quiesced)


async def take_back(unit: Unit, job: Job) -> Task | None:
    """Nothing that was written since is lost."""
    found = await pairs(unit, job)
    if not touched(job, "take") or not await answers(unit, found[0][0].disk.host_uuid):
        return None
    return await take_back_task(unit, job)


async def all_taken_back(unit: Unit, job: Job, result: Any) -> None:
    """The volumes are what they were."""
    for it, snapshot in await pairs(unit, job):
        await taken_back(unit, it, snapshot)


class CreateVolumeSnapshots(Workflow, name="create_volume_snapshots", version=1, title="take snapshot of"):
    """args: volume_uuids, snapshot_uuids, in the same order; all volumes lie on one host."""

    table = (
        Step("flatten", flatten, flattened, timeout=MERGE_SECONDS, repeat=True),
        Step("take", take, all_taken, take_back, all_taken_back, timeout=TAKE_SECONDS),
    )

    async def begin(self, unit: Unit, job: Job) -> None:
        for it, snapshot in await pairs(unit, job):
            await must_work_on(unit, it.volume, job)
            vm = await vm_of(unit, it.volume)
            if vm is not None:
                vm.status.must_allow("take a snapshot of", ALLOWED["snapshot"])
            await must_be_whole(unit, it)
            await plan(unit, it, snapshot)

    async def fail(self, unit: Unit, job: Job) -> None:
        for it, snapshot in await pairs(unit, job):
            if snapshot.uuid not in it.chain.nodes:
                unit.because(snapshot, f"it could not be taken: {job.error}")
                await unplan(unit, it, snapshot)
