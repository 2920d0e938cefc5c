"""Empty volumes on a host, and what the file of a volume really is (VOL-03)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.local_storage import storage_error
from agents.storage.paths import regular_file, remove_empty_parent
from agents.storage.volumes import header_of, publish, qemu_img, taken, volume_path
from zcloud.v1.volume_task_pb2 import (
    CreateDataVolumeResult,
    CreateDataVolumeTask,
    ReadVolumeResult,
    ReadVolumeTask,
)


class CreateDataVolume(
    Handler[CreateDataVolumeTask, CreateDataVolumeResult], task=CreateDataVolumeTask, result=CreateDataVolumeResult
):
    async def run(self, args: CreateDataVolumeTask, work: Work) -> CreateDataVolumeResult:
        del work
        path = volume_path(args.path, args.volume_uuid)
        try:
            return await asyncio.to_thread(_existing, path, args) or await _create(path, args)
        except OSError as error:
            raise storage_error(f"the volume {path} cannot be made", error) from None

    async def probe(self, args: CreateDataVolumeTask) -> CreateDataVolumeResult | None:
        return await asyncio.to_thread(_existing, volume_path(args.path, args.volume_uuid), args)


def _existing(path: Path, args: CreateDataVolumeTask) -> CreateDataVolumeResult | None:
    """The volume that is there, if it is the one wanted; another one is never written over."""
    if not regular_file("the volume", path):
        return None
    header = header_of(path)
    if header.backing_file or header.size < args.size:
        raise TaskError(
            "INVALID",
            f"{path} exists with {header.size} bytes and backing file {header.backing_file!r}, not as an empty volume "
            f"of {args.size}; it is left as it is: delete it or choose another path",
        )
    return CreateDataVolumeResult(actual_size=taken(path))


async def _create(path: Path, args: CreateDataVolumeTask) -> CreateDataVolumeResult:
    part = path.with_name(path.name + ".part")
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    try:
        await qemu_img("create", "-q", "-f", "qcow2", "--", str(part), str(args.size))
        await asyncio.to_thread(publish, part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        remove_empty_parent(path, args.volume_uuid)
        raise
    return CreateDataVolumeResult(actual_size=taken(path))


class ReadVolume(Handler[ReadVolumeTask, ReadVolumeResult], task=ReadVolumeTask, result=ReadVolumeResult):
    """The header is read by our own hands, also while a guest runs with the volume."""

    async def run(self, args: ReadVolumeTask, work: Work) -> ReadVolumeResult:
        work.check()
        return await asyncio.to_thread(read, volume_path(args.path, args.volume_uuid))


def read(path: Path) -> ReadVolumeResult:
    """Sizes of a volume's file; NOT_FOUND when there is none."""
    if not regular_file("the volume", path):
        raise TaskError("NOT_FOUND", f"the volume {path} is not there")
    return ReadVolumeResult(size=header_of(path).size, actual_size=taken(path))
