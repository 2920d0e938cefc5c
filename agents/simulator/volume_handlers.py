"""Data volumes of a simulated host, and volumes that its VMs have open."""

from __future__ import annotations

from agents.runtime.task import TaskError
from agents.simulator.simulated import Simulated
from agents.simulator.world import THIN_BYTES, Volume, World
from zcloud.v1.volume_task_pb2 import (
    AttachVolumeResult,
    AttachVolumeTask,
    CopiedVolume,
    CopyVolumesResult,
    CopyVolumesTask,
    CreateDataVolumeResult,
    CreateDataVolumeTask,
    DetachVolumeResult,
    DetachVolumeTask,
    ReadVolumeResult,
    ReadVolumeTask,
    ResizeVolumeResult,
    ResizeVolumeTask,
)


def volume_at(world: World, path: str) -> Volume:
    """The file; NOT_FOUND when there is none."""
    if path not in world.volumes:
        raise TaskError("NOT_FOUND", f"there is no volume {path}")
    return world.volumes[path]


class CreateDataVolume(
    Simulated[CreateDataVolumeTask, CreateDataVolumeResult],
    task=CreateDataVolumeTask,
    result=CreateDataVolumeResult,
):
    def apply(self, args: CreateDataVolumeTask) -> CreateDataVolumeResult:
        there = self.world.volumes.get(args.path)
        wanted = Volume(args.volume_uuid, "", args.size)
        if there is not None and there != wanted:
            raise TaskError("INVALID", f"{args.path} is there already, and is volume {there.uuid}")
        if there is None:
            self.world.need_disk(THIN_BYTES, f"volume {args.path}")
            self.world.volumes[args.path] = wanted
        return CreateDataVolumeResult(actual_size=THIN_BYTES)


class AttachVolume(Simulated[AttachVolumeTask, AttachVolumeResult], task=AttachVolumeTask, result=AttachVolumeResult):
    def apply(self, args: AttachVolumeTask) -> AttachVolumeResult:
        self.world.need_hypervisor()
        vm = self.world.vms.get(args.vm_instance_uuid)
        if vm is not None and args.disk.path not in [disk.path for disk in vm.spec.disks]:
            volume_at(self.world, args.disk.path)
            users = self.world.users_of_path(args.disk.path)
            if users:
                raise TaskError("REFUSED", f"volume {args.disk.path} is in use by VM {users[0]}")
            vm.spec.disks.append(args.disk)
        return AttachVolumeResult()


class DetachVolume(Simulated[DetachVolumeTask, DetachVolumeResult], task=DetachVolumeTask, result=DetachVolumeResult):
    def apply(self, args: DetachVolumeTask) -> DetachVolumeResult:
        self.world.need_hypervisor()
        vm = self.world.vms.get(args.vm_instance_uuid)
        for disk in list(vm.spec.disks) if vm is not None else ():
            if vm is not None and disk.path == args.path:
                vm.spec.disks.remove(disk)
        return DetachVolumeResult()


class ResizeVolume(Simulated[ResizeVolumeTask, ResizeVolumeResult], task=ResizeVolumeTask, result=ResizeVolumeResult):
    def apply(self, args: ResizeVolumeTask) -> ResizeVolumeResult:
        volume = volume_at(self.world, args.path)
        volume.size = max(volume.size, args.size)
        return ResizeVolumeResult(size=volume.size, actual_size=THIN_BYTES)


class ReadVolume(Simulated[ReadVolumeTask, ReadVolumeResult], task=ReadVolumeTask, result=ReadVolumeResult):
    def apply(self, args: ReadVolumeTask) -> ReadVolumeResult:
        return ReadVolumeResult(size=volume_at(self.world, args.path).size, actual_size=THIN_BYTES)


def read_through(world: World, path: str) -> dict[str, str]:
    """All that is found in a file and those below."""
    found: dict[str, str] = {}
    while path in world.volumes:
        found = {**world.volumes[path].data, **found}
        path = world.volumes[path].backing_path
    return found


class CopyVolumes(Simulated[CopyVolumesTask, CopyVolumesResult], task=CopyVolumesTask, result=CopyVolumesResult):
    def apply(self, args: CopyVolumesTask) -> CopyVolumesResult:
        for one in args.copies:
            volume_at(self.world, one.source_path)
            if one.path not in self.world.volumes:
                self.world.need_disk(THIN_BYTES, f"volume {one.path}")
        for one in args.copies:
            made = Volume(one.volume_uuid, "", one.size, read_through(self.world, one.source_path))
            self.world.volumes.setdefault(one.path, made)
        copied = [CopiedVolume(volume_uuid=one.volume_uuid, actual_size=THIN_BYTES) for one in args.copies]
        return CopyVolumesResult(volumes=copied)


HANDLERS = (CreateDataVolume, AttachVolume, DetachVolume, ResizeVolume, ReadVolume, CopyVolumes)
