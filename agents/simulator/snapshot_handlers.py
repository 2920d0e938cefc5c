"""Chains of files of a simulated host; what guests wrote is found through them, as on a real one."""

from __future__ import annotations

from agents.runtime.task import TaskError
from agents.simulator.simulated import Simulated
from agents.simulator.volume_handlers import volume_at
from agents.simulator.world import THIN_BYTES, Volume, World
from zcloud.v1.volume_snapshot_task_pb2 import (
    CommitVolumeResult,
    CommitVolumeTask,
    DeleteVolumeFilesResult,
    DeleteVolumeFilesTask,
    PullVolumeResult,
    PullVolumeTask,
    RevertVolumesResult,
    RevertVolumesTask,
    SnapshotFile,
    TakeSnapshotsResult,
    TakeSnapshotsTask,
    UndoSnapshotsResult,
    UndoSnapshotsTask,
)


def plug(world: World, vm: str, old: str, new: str) -> None:
    """Let a VM that runs write to another file."""
    for disk in world.vms[vm].spec.disks if vm in world.vms else ():
        if disk.path == old:
            disk.path = new


def overlay(world: World, path: str, base: str, uuid: str, size: int) -> None:
    """An empty file on top of another."""
    volume_at(world, base)
    if path not in world.volumes:
        world.need_disk(THIN_BYTES, f"volume {path}")
        world.volumes[path] = Volume(uuid, base, size)


class TakeSnapshots(
    Simulated[TakeSnapshotsTask, TakeSnapshotsResult], task=TakeSnapshotsTask, result=TakeSnapshotsResult
):
    def apply(self, args: TakeSnapshotsTask) -> TakeSnapshotsResult:
        for disk in args.disks:
            volume_at(self.world, disk.path)
        for disk in args.disks:
            size = self.world.volumes[disk.path].size
            overlay(self.world, disk.new_path, disk.path, disk.volume_uuid, size)
            plug(self.world, args.vm_instance_uuid, disk.path, disk.new_path)
        return TakeSnapshotsResult(
            files=[SnapshotFile(volume_uuid=disk.volume_uuid, size=THIN_BYTES) for disk in args.disks]
        )


class UndoSnapshots(
    Simulated[UndoSnapshotsTask, UndoSnapshotsResult], task=UndoSnapshotsTask, result=UndoSnapshotsResult
):
    def apply(self, args: UndoSnapshotsTask) -> UndoSnapshotsResult:
        for disk in args.disks:
            gone = self.world.volumes.pop(disk.new_path, None)
            if gone is not None:
                self.world.volumes[disk.path].data.update(gone.data)
            plug(self.world, args.vm_instance_uuid, disk.new_path, disk.path)
        return UndoSnapshotsResult()


class PullVolume(Simulated[PullVolumeTask, PullVolumeResult], task=PullVolumeTask, result=PullVolumeResult):
    def apply(self, args: PullVolumeTask) -> PullVolumeResult:
        volume = volume_at(self.world, args.path)
        while volume.backing_path != args.base_path:
            below = self.world.volumes.get(volume.backing_path)
            if below is None:
                raise TaskError("INVALID", f"{args.path} does not lie on {args.base_path!r}")
            volume.data = {**below.data, **volume.data}
            volume.backing_path = below.backing_path
        return PullVolumeResult(size=THIN_BYTES)


class CommitVolume(Simulated[CommitVolumeTask, CommitVolumeResult], task=CommitVolumeTask, result=CommitVolumeResult):
    def apply(self, args: CommitVolumeTask) -> CommitVolumeResult:
        base = volume_at(self.world, args.base_path)
        gone = self.world.volumes.pop(args.path, None)
        if gone is not None:
            base.data.update(gone.data)
            base.size = gone.size
            for path in args.above:
                volume_at(self.world, path).backing_path = args.base_path
        return CommitVolumeResult(size=THIN_BYTES)


class RevertVolumes(
    Simulated[RevertVolumesTask, RevertVolumesResult], task=RevertVolumesTask, result=RevertVolumesResult
):
    def apply(self, args: RevertVolumesTask) -> RevertVolumesResult:
        for one in args.volumes:
            overlay(self.world, one.path, one.snapshot_path, one.volume_uuid, one.size)
        return RevertVolumesResult()


class DeleteVolumeFiles(
    Simulated[DeleteVolumeFilesTask, DeleteVolumeFilesResult],
    task=DeleteVolumeFilesTask,
    result=DeleteVolumeFilesResult,
):
    def apply(self, args: DeleteVolumeFilesTask) -> DeleteVolumeFilesResult:
        gone = {one.path for one in args.files}
        for path in gone:
            users = self.world.users_of_path(path)
            users += [p for p, v in self.world.volumes.items() if v.backing_path == path and p not in gone]
            if users:
                raise TaskError("REFUSED", f"file {path} is in use by {users[0]}")
        for path in gone:
            self.world.volumes.pop(path, None)
        return DeleteVolumeFilesResult()


HANDLERS = (TakeSnapshots, UndoSnapshots, PullVolume, CommitVolume, RevertVolumes, DeleteVolumeFiles)
