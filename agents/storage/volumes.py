"""Volumes on a host: thin qcow2 files on top of cached images (VOL-01)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agents.runtime.children import ended
from agents.runtime.task import Handler, TaskError, Work
from agents.storage.helper import HelperError
from agents.storage.image_format import Qcow2Header
from agents.storage.local_storage import storage_error
from agents.storage.paths import checked_path, regular_file, remove_empty_parent, sync_directory, variables_of
from zcloud.v1.volume_task_pb2 import (
    CreateRootVolumeResult,
    CreateRootVolumeTask,
    DeleteVolumeResult,
    DeleteVolumeTask,
)


def volume_path(path: str, volume_uuid: str) -> Path:
    """The uuid must be in the path: a mixed-up task must not reach another volume."""
    checked = checked_path("the volume's path", path)
    if not volume_uuid or volume_uuid not in path:
        raise TaskError("INVALID", f"{path!r} is not a path of volume {volume_uuid!r}: it does not bear its uuid")
    return checked


def header_of(path: Path) -> Qcow2Header:
    """Read by our own hands: no format is ever guessed on a disk that a guest has written to."""
    with open(path, "rb") as file:
        try:
            return Qcow2Header(file, str(path))
        except HelperError as error:
            raise TaskError(error.reason, str(error)) from None


class CreateRootVolume(
    Handler[CreateRootVolumeTask, CreateRootVolumeResult], task=CreateRootVolumeTask, result=CreateRootVolumeResult
):
    async def run(self, args: CreateRootVolumeTask, work: Work) -> CreateRootVolumeResult:
        del work
        path = volume_path(args.path, args.volume_uuid)
        backing = checked_path("the backing file", args.backing_path)
        if args.backing_format not in ("qcow2", "raw"):
            raise TaskError("INVALID", f"the backing format must be qcow2 or raw, got {args.backing_format!r}")
        try:
            return await asyncio.to_thread(_existing, path, args) or await _create(path, backing, args)
        except OSError as error:
            raise storage_error(f"the volume {path} cannot be made", error) from None

    async def probe(self, args: CreateRootVolumeTask) -> CreateRootVolumeResult | None:
        return await asyncio.to_thread(_existing, volume_path(args.path, args.volume_uuid), args)


def _existing(path: Path, args: CreateRootVolumeTask) -> CreateRootVolumeResult | None:
    """The volume that is there, if it is the one wanted; another one is never written over."""
    if not regular_file("the volume", path):
        return None
    header = header_of(path)
    have = (header.backing_file, header.backing_format, header.size)
    if have[:2] != (args.backing_path, args.backing_format) or header.size < args.size:
        raise TaskError(
            "INVALID",
            f"{path} exists with backing file {have[0]!r} ({have[1]}) and {have[2]} bytes, not {args.backing_path!r} "
            f"({args.backing_format}) and {args.size}; it is left as it is: delete it or choose another path",
        )
    return _measured(path)


def _make_ready(path: Path, backing: Path, args: CreateRootVolumeTask) -> Path:
    """Check the image, make the directory; returns the name to work under until the volume is whole."""
    if not regular_file("the backing file", backing):
        raise TaskError("NOT_FOUND", f"the backing file {backing} is not there; bring the image into the cache first")
    least = header_of(backing).size if args.backing_format == "qcow2" else backing.stat().st_size
    if args.size < least:
        raise TaskError("INVALID", f"a volume of {args.size} bytes is smaller than its image of {least}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    return part


async def _create(path: Path, backing: Path, args: CreateRootVolumeTask) -> CreateRootVolumeResult:
    part = await asyncio.to_thread(_make_ready, path, backing, args)
    try:
        argv = [
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            str(backing),
            "-F",
            args.backing_format,
            "--",
            str(part),
            str(args.size),
        ]
        await qemu_img(*argv)
        await asyncio.to_thread(publish, part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        remove_empty_parent(path, args.volume_uuid)
        raise
    return _measured(path)


async def qemu_img(*argv: str) -> None:
    """Run it; its failure is a TaskError with the last of its words."""
    try:
        process = await asyncio.create_subprocess_exec(
            "qemu-img",
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except FileNotFoundError:
        raise TaskError("FAILED", "qemu-img is not installed; install the package qemu-utils on the host") from None
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        await ended(process, 0)
        raise
    if process.returncode != 0:
        text = output.decode("utf-8", "replace").strip()
        reason = "NO_SPACE" if "No space left" in text else "FAILED"
        raise TaskError(reason, f"qemu-img {argv[0]} failed: {text[-500:]}")


def publish(part: Path, path: Path) -> None:
    """Let the whole file appear under its name, for good."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.rename(part, path)
    sync_directory(path.parent)


def _measured(path: Path) -> CreateRootVolumeResult:
    return CreateRootVolumeResult(actual_size=taken(path))


def taken(path: Path) -> int:
    """Bytes that the file takes on the disk."""
    return path.stat().st_blocks * 512


class DeleteVolume(Handler[DeleteVolumeTask, DeleteVolumeResult], task=DeleteVolumeTask, result=DeleteVolumeResult):
    async def run(self, args: DeleteVolumeTask, work: Work) -> DeleteVolumeResult:
        del work
        path = volume_path(args.path, args.volume_uuid)
        try:
            for more in args.more_paths:
                await asyncio.to_thread(_remove, volume_path(more, args.volume_uuid), args.volume_uuid)
            await asyncio.to_thread(_remove, path, args.volume_uuid)
        except OSError as error:
            raise storage_error(f"the volume {path} cannot be removed", error) from None
        return DeleteVolumeResult()

    async def probe(self, args: DeleteVolumeTask) -> DeleteVolumeResult | None:
        paths = [volume_path(path, args.volume_uuid) for path in (args.path, *args.more_paths)]
        paths.append(variables_of(paths[0], args.volume_uuid))
        return None if any(map(os.path.lexists, paths)) else DeleteVolumeResult()


def _remove(path: Path, volume_uuid: str) -> None:
    for name in (path.with_name(path.name + ".part"), path):
        if regular_file("the volume", name):
            name.unlink(missing_ok=True)
    remove_empty_parent(path, volume_uuid)
