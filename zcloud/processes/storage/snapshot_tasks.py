"""What hosts do with the files of snapshots, as tasks: which files, on top of which."""

from __future__ import annotations

import posixpath

from zcloud.domain.storage.image import Image
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.snapshots import Chained, chained
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Task
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.storage import image_cache
from zcloud.processes.storage.volume_tasks import user_of
from zcloud.v1.volume_snapshot_task_pb2 import (
    CommitVolumeTask,
    DeleteVolumeFilesTask,
    PullVolumeTask,
    RevertedVolume,
    RevertVolumesTask,
    SnapshotDisk,
    TakeSnapshotsTask,
    UndoSnapshotsTask,
    VolumeFile,
)


def next_path(it: Chained, job: Job) -> str:
    """The file that a job lets a volume write to: in the volume's own directory, under a name that no other has."""
    return posixpath.join(posixpath.dirname(it.disk.install_path), f"{job.uuid}.qcow2")


async def base_of(unit: Unit, it: Chained) -> tuple[str, str]:
    """What the oldest file of the volume lies on: path and format of the cached image, nothing for a data volume."""
    image = await unit.last(Image, it.volume.image_uuid) if it.volume.image_uuid else None
    storage = await unit.find(PrimaryStorage, it.disk.primary_storage_uuid)
    if image is None or storage is None:
        return "", ""
    return image_cache.cache_path(storage, image), image.format.suffix


async def below(unit: Unit, it: Chained, snapshot_uuid: str) -> tuple[str, str]:
    """Path and format of the file that a snapshot's file lies on."""
    node = it.chain.nodes.get(it.chain.nodes[snapshot_uuid].parent)
    return (node.path, it.volume.format) if node is not None else await base_of(unit, it)


async def disks(unit: Unit, job: Job) -> tuple[list[Chained], list[SnapshotDisk]]:
    """Of all volumes that the job captures: the file that is frozen, and the one on top of it."""
    found, made = [], []
    for volume_uuid in job.args["volume_uuids"]:
        it = await chained(unit, volume_uuid)
        found.append(it)
        done = it.disk.install_path == next_path(it, job)
        path = it.chain.nodes[it.chain.tip].path if done else it.disk.install_path
        made.append(
            SnapshotDisk(volume_uuid=volume_uuid, path=path, new_path=next_path(it, job), format=it.volume.format)
        )
    return found, made


async def take_task(unit: Unit, job: Job) -> Task:
    """Freeze the files of all volumes at one moment."""
    found, made = await disks(unit, job)
    host_uuid = found[0].disk.host_uuid
    await must_reach(unit, host_uuid, "take the snapshot")
    vm = await user_of(unit, found[0].volume)
    return Task(host_uuid, TakeSnapshotsTask(vm_instance_uuid=vm, disks=made, quiesce=True))


async def take_back_task(unit: Unit, job: Job) -> Task:
    """Let the volumes be what they were, with all that was written since."""
    found, made = await disks(unit, job)
    vm = await user_of(unit, found[0].volume)
    return Task(found[0].disk.host_uuid, UndoSnapshotsTask(vm_instance_uuid=vm, disks=made))


async def pull_task(unit: Unit, it: Chained, path: str, base: tuple[str, str]) -> Task:
    """Let a file hold what lies between it and a base, so that nothing between is needed any more."""
    await must_reach(unit, it.disk.host_uuid, "merge the snapshot")
    return Task(
        it.disk.host_uuid,
        PullVolumeTask(
            vm_instance_uuid=await user_of(unit, it.volume),
            volume_uuid=it.volume.uuid,
            path=path,
            base_path=base[0],
            base_format=base[1],
        ),
    )


async def commit_task(unit: Unit, it: Chained, snapshot_uuid: str, into: str) -> Task:
    """Let a snapshot's file take in what lies on top of it in a chain that a guest has open."""
    await must_reach(unit, it.disk.host_uuid, "merge the snapshot")
    above = [it.chain.nodes[u].path if u else it.disk.install_path for u in it.chain.on_top_of(into)]
    return Task(
        it.disk.host_uuid,
        CommitVolumeTask(
            vm_instance_uuid=await user_of(unit, it.volume),
            volume_uuid=it.volume.uuid,
            active_path=it.disk.install_path,
            path=it.chain.nodes[into].path,
            base_path=it.chain.nodes[snapshot_uuid].path,
            above=above,
        ),
    )


def revert_task(job: Job, reverts: list[tuple[Chained, str]]) -> Task:
    """New files on top of the snapshots' ones."""
    return Task(
        reverts[0][0].disk.host_uuid,
        RevertVolumesTask(
            volumes=[
                RevertedVolume(
                    volume_uuid=it.volume.uuid,
                    snapshot_path=it.chain.nodes[snapshot].path,
                    snapshot_format=it.volume.format,
                    path=next_path(it, job),
                    size=it.chain.nodes[snapshot].volume_size,
                )
                for it, snapshot in reverts
            ]
        ),
    )


def delete_files_task(host_uuid: str, files: list[tuple[str, str]]) -> Task:
    """Remove files of volumes (volume's uuid, path); what is not there is removed already."""
    made = [VolumeFile(volume_uuid=volume_uuid, path=path) for volume_uuid, path in files]
    return Task(host_uuid, DeleteVolumeFilesTask(files=made))
