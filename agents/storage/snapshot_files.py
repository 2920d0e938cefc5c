"""Files of volumes on top of each other, while no guest runs with them: made, merged, removed (SNP-01)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.local_storage import storage_error
from agents.storage.paths import checked_path, regular_file, remove_empty_parent
from agents.storage.volumes import header_of, publish, qemu_img, volume_path
from zcloud.v1.volume_snapshot_task_pb2 import (
    DeleteVolumeFilesResult,
    DeleteVolumeFilesTask,
    RevertVolumesResult,
    RevertVolumesTask,
)


async def lies_on(path: Path, base: str) -> bool:
    """Whether this is what the file lies on; empty: it stands by itself."""
    return (await asyncio.to_thread(header_of, path)).backing_file == base


async def overlay(path: Path, base: Path, base_format: str, size: int = 0) -> None:
    """An empty file on top of another; one that is there and lies on that is what is wanted."""
    if not await asyncio.to_thread(regular_file, "the frozen file", base):
        raise TaskError("NOT_FOUND", f"there is no file {base} to lie on")
    if await asyncio.to_thread(regular_file, "the new file", path):
        if await lies_on(path, str(base)):
            return
        raise TaskError("INVALID", f"{path} exists and does not lie on {base}; it is left as it is")
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        sizes = [str(size)] if size else []
        await qemu_img("create", "-q", "-f", "qcow2", "-b", str(base), "-F", base_format, "--", str(part), *sizes)
        await asyncio.to_thread(publish, part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


async def pull(path: Path, base: str, base_format: str) -> None:
    """Let the file hold what it now finds below itself, down to the base. Broken off anywhere, it reads the same."""
    if await lies_on(path, base):
        return
    below = ["-b", str(checked_path("the base", base)), "-F", base_format] if base else ["-b", ""]
    await qemu_img("rebase", "-q", "-f", "qcow2", *below, "--", str(path))


async def commit(path: Path, base: Path) -> None:
    """Let the base take in the file on top of it."""
    await qemu_img("commit", "-q", "-d", "-f", "qcow2", "-b", str(base), "--", str(path))


async def repoint(path: Path, old: Path, base: Path) -> None:
    """Let a file that lies on one lie on another with the same content."""
    if await lies_on(path, str(old)):
        await qemu_img("rebase", "-q", "-u", "-f", "qcow2", "-b", str(base), "-F", "qcow2", "--", str(path))


class RevertVolumes(
    Handler[RevertVolumesTask, RevertVolumesResult], task=RevertVolumesTask, result=RevertVolumesResult
):
    async def run(self, args: RevertVolumesTask, work: Work) -> RevertVolumesResult:
        work.check()
        for one in args.volumes:
            path, base = volume_path(one.path, one.volume_uuid), volume_path(one.snapshot_path, one.volume_uuid)
            try:
                await overlay(path, base, one.snapshot_format, one.size)
            except OSError as error:
                raise storage_error(f"{path} cannot be made", error) from None
        return RevertVolumesResult()


class DeleteVolumeFiles(
    Handler[DeleteVolumeFilesTask, DeleteVolumeFilesResult],
    task=DeleteVolumeFilesTask,
    result=DeleteVolumeFilesResult,
):
    async def run(self, args: DeleteVolumeFilesTask, work: Work) -> DeleteVolumeFilesResult:
        work.check()
        for one in args.files:
            path = volume_path(one.path, one.volume_uuid)
            try:
                await asyncio.to_thread(remove, path, one.volume_uuid)
            except OSError as error:
                raise storage_error(f"{path} cannot be removed", error) from None
        return DeleteVolumeFilesResult()


def remove(path: Path, volume_uuid: str) -> None:
    """A plain file, or nothing."""
    if regular_file("the file", path):
        path.unlink(missing_ok=True)
    remove_empty_parent(path, volume_uuid)
