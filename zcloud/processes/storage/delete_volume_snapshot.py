"""Deletes a snapshot: what lies on it takes in what it needs of it, and loses nothing (SNP-05, behaviours 8)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.data_volumes import alive, must_work_on, vm_of
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage.snapshots import Chained, chained, dropped, facts_of, merged
from zcloud.domain.storage.volume_room import must_serve
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.start_steps import touched
from zcloud.processes.storage.create_volume_snapshots import MERGE_SECONDS
from zcloud.processes.storage.snapshot_tasks import below, commit_task, delete_files_task, pull_task


async def _next(unit: Unit, it: Chained, snapshot_uuid: str) -> tuple[str, bool] | None:
    """What is merged next, and whether into the snapshot's own file.

    Files that no guest has open take in the snapshot's; so does the one that a guest writes to. A file between is open
    for reading only: when it is the last that lies on the snapshot, it is merged into that, which takes its place.
    """
    waiting = it.chain.on_top_of(snapshot_uuid)
    if not waiting:
        return None
    open_files = it.chain.below_tip() if alive(await vm_of(unit, it.volume)) else ()
    for into in waiting:
        if not into or into not in open_files:
            return into, False
    return waiting[0], True


async def merge(unit: Unit, job: Job) -> Task | None:
    """One file after the other."""
    snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
    it = await chained(unit, snapshot.volume_uuid)
    found = await _next(unit, it, snapshot.uuid)
    if found is None:
        return None
    into, commit = found
    if commit:
        return await commit_task(unit, it, snapshot.uuid, into)
    path = it.chain.nodes[into].path if into else it.disk.install_path
    return await pull_task(unit, it, path, await below(unit, it, snapshot.uuid))


async def was_merged(unit: Unit, job: Job, result: Any) -> None:
    """That file needs the snapshot no longer, or lies in its place."""
    snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
    it = await chained(unit, snapshot.volume_uuid)
    found = await _next(unit, it, snapshot.uuid)
    if found is not None:
        into, commit = found
        await merged(unit, it, snapshot.uuid, into, it.chain.nodes[snapshot.uuid].path if commit else "", result.size)


async def go_on(unit: Unit, job: Job) -> Task | None:
    """A snapshot's file that has begun to take in another one is no longer what it was: that is brought to its end."""
    snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
    it = await chained(unit, snapshot.volume_uuid)
    found = await _next(unit, it, snapshot.uuid)
    if found is None or not found[1] or not touched(job, "merge"):
        return None
    return await commit_task(unit, it, snapshot.uuid, found[0])


async def delete_file(unit: Unit, job: Job) -> Task | None:
    """Unless another took its place; what else was left behind goes with it."""
    snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
    it = await chained(unit, snapshot.volume_uuid)
    node = it.chain.nodes[snapshot.uuid]
    paths = [*it.chain.trash, *([node.path] if node.path else [])]
    if not paths or await unit.find(Host, it.disk.host_uuid) is None:
        return None
    await must_reach(unit, it.disk.host_uuid, "delete the snapshot")
    return delete_files_task(it.disk.host_uuid, [(it.volume.uuid, path) for path in paths])


async def file_deleted(unit: Unit, job: Job, result: Any) -> None:
    """Nothing of it is left."""
    snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
    (await chained(unit, snapshot.volume_uuid)).chain.swept()


class DeleteVolumeSnapshot(Workflow, name="delete_volume_snapshot", version=1, title="delete snapshot of"):
    """args: snapshot_uuid."""

    table = (
        Step("merge", merge, was_merged, undo=go_on, undone=was_merged, timeout=MERGE_SECONDS, repeat=True),
        Step("delete_file", delete_file, file_deleted, timeout=300),
    )

    async def reached(self, unit: Unit, job: Job) -> bool:
        return await unit.find(VolumeSnapshot, job.args["snapshot_uuid"]) is None

    async def begin(self, unit: Unit, job: Job) -> None:
        snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
        facts = await facts_of(unit, snapshot.uuid)
        facts.must_be_ready(snapshot, "deleted")
        volume = (await chained(unit, snapshot.volume_uuid)).volume
        await must_work_on(unit, volume, job)
        await must_serve(unit, volume, "relieved of a snapshot")
        vm = await vm_of(unit, volume)
        if vm is not None:
            vm.status.must_allow("delete a snapshot of", ALLOWED["delete_snapshot"])
        facts.begin_deletion()

    async def succeed(self, unit: Unit, job: Job) -> None:
        snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
        await dropped(unit, await chained(unit, snapshot.volume_uuid), snapshot)

    async def fail(self, unit: Unit, job: Job) -> None:
        snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
        it = await chained(unit, snapshot.volume_uuid)
        if not it.chain.nodes[snapshot.uuid].path or touched(job, "delete_file"):
            await dropped(unit, it, snapshot)  # too late: there is nothing left to keep
        else:
            (await facts_of(unit, snapshot.uuid)).abort_deletion()
