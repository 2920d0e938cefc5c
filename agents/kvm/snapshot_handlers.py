"""The tasks on chains of files: by the hypervisor while a guest runs with them, else by qemu-img (VM-14, VOL-10)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agents.kvm.chains import Chains
from agents.kvm.hypervisor import Hypervisor
from agents.runtime.task import Handler, TaskError, Work
from agents.storage import snapshot_files as files
from agents.storage.local_storage import storage_error
from agents.storage.paths import regular_file
from agents.storage.volumes import taken, volume_path
from zcloud.v1.volume_snapshot_task_pb2 import (
    CommitVolumeResult,
    CommitVolumeTask,
    PullVolumeResult,
    PullVolumeTask,
    SnapshotDisk,
    SnapshotFile,
    TakeSnapshotsResult,
    TakeSnapshotsTask,
    UndoSnapshotsResult,
    UndoSnapshotsTask,
)


def snapshot_handlers(hypervisor: Hypervisor) -> list[Handler[Any, Any]]:
    """One handler for each."""
    chains = Chains(hypervisor)
    return [TakeSnapshots(chains), UndoSnapshots(chains), PullVolume(chains), CommitVolume(chains)]


class TakeSnapshots(
    Handler[TakeSnapshotsTask, TakeSnapshotsResult], task=TakeSnapshotsTask, result=TakeSnapshotsResult
):
    """Disks that lie on their new files already are left alone."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    async def run(self, args: TakeSnapshotsTask, work: Work) -> TakeSnapshotsResult:
        work.check()
        for disk in args.disks:
            _checked(disk)
        quiesced = False
        try:
            if args.vm_instance_uuid and await self._chains.runs(args.vm_instance_uuid):
                waiting = [d for d in args.disks if not await self._chains.disk(args.vm_instance_uuid, d.new_path)]
                if waiting:
                    quiesced = await self._chains.take(args.vm_instance_uuid, waiting, args.quiesce)
            else:
                for disk in args.disks:
                    await files.overlay(Path(disk.new_path), Path(disk.path), disk.format)
        except OSError as error:
            raise storage_error("the snapshot cannot be taken", error) from None
        sizes = [SnapshotFile(volume_uuid=d.volume_uuid, size=taken(Path(d.path))) for d in args.disks]
        return TakeSnapshotsResult(files=sizes, quiesced=quiesced)


class UndoSnapshots(
    Handler[UndoSnapshotsTask, UndoSnapshotsResult], task=UndoSnapshotsTask, result=UndoSnapshotsResult
):
    """What was written to a new file goes into the one below before it is removed."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    async def run(self, args: UndoSnapshotsTask, work: Work) -> UndoSnapshotsResult:
        for disk in args.disks:
            path, new = _checked(disk)
            if await self._chains.put_back(args.vm_instance_uuid, disk.new_path, disk.path, work):
                await asyncio.to_thread(new.unlink, True)
            elif regular_file("the new file", new):
                if not await self._chains.disk(args.vm_instance_uuid, disk.path):
                    await files.commit(new, path)
                await asyncio.to_thread(new.unlink, True)
        return UndoSnapshotsResult()


class PullVolume(Handler[PullVolumeTask, PullVolumeResult], task=PullVolumeTask, result=PullVolumeResult):
    """The content stays the same, so that it can be broken off anywhere and done again."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    async def run(self, args: PullVolumeTask, work: Work) -> PullVolumeResult:
        path = volume_path(args.path, args.volume_uuid)
        if not regular_file("the volume", path):
            raise TaskError("NOT_FOUND", f"the volume {path} is not there")
        if not await files.lies_on(path, args.base_path):
            if not await self._chains.pull(args.vm_instance_uuid, args.path, args.base_path, work):
                await files.pull(path, args.base_path, args.base_format)
            if not await files.lies_on(path, args.base_path):
                raise TaskError("FAILED", f"{path} still needs what lies between it and {args.base_path!r}")
        return PullVolumeResult(size=taken(path))


class CommitVolume(Handler[CommitVolumeTask, CommitVolumeResult], task=CommitVolumeTask, result=CommitVolumeResult):
    """Done when nothing lies on the file any more; only then it is removed."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    async def run(self, args: CommitVolumeTask, work: Work) -> CommitVolumeResult:
        path, base = volume_path(args.path, args.volume_uuid), volume_path(args.base_path, args.volume_uuid)
        above = [volume_path(one, args.volume_uuid) for one in args.above]
        if regular_file("the file", path):
            if any([await files.lies_on(one, str(path)) for one in above]):
                vm = args.vm_instance_uuid
                if not await self._chains.commit(vm, args.active_path, args.path, args.base_path, work):
                    await files.commit(path, base)
                for one in above:
                    await files.repoint(one, path, base)
            await asyncio.to_thread(path.unlink, True)
        return CommitVolumeResult(size=taken(base))


def _checked(disk: SnapshotDisk) -> tuple[Path, Path]:
    """Both files are the volume's own."""
    return volume_path(disk.path, disk.volume_uuid), volume_path(disk.new_path, disk.volume_uuid)
