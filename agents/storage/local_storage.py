"""Primary storage: a directory of the host, or one that is shared, measured by its file system (PS-06, PS-08)."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import tempfile
from functools import partial
from pathlib import Path

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.bounded import Asking
from agents.storage.mounts import Mount, mark_of, silent, within
from agents.storage.paths import checked_path
from agents.storage.watched import StorageWatch
from zcloud.v1.primary_storage_task_pb2 import (
    PrepareLocalStorageResult,
    PrepareLocalStorageTask,
    PrepareSharedMountPointResult,
    PrepareSharedMountPointTask,
)

# A disk that is busy may take long to have something written.
TRIAL_SECONDS = 45.0
UUID = re.compile(r"[0-9a-f]{32}")


class PrepareLocalStorage(
    Handler[PrepareLocalStorageTask, PrepareLocalStorageResult],
    task=PrepareLocalStorageTask,
    result=PrepareLocalStorageResult,
):
    async def run(self, args: PrepareLocalStorageTask, work: Work) -> PrepareLocalStorageResult:
        del work
        path = checked_path("the URL of the primary storage", args.url)
        return await asyncio.to_thread(_prepare, path)

    async def probe(self, args: PrepareLocalStorageTask) -> PrepareLocalStorageResult | None:
        path = checked_path("the URL of the primary storage", args.url)
        return await asyncio.to_thread(lambda: _measure(path) if path.is_dir() else None)


class PrepareSharedMountPoint(
    Handler[PrepareSharedMountPointTask, PrepareSharedMountPointResult],
    task=PrepareSharedMountPointTask,
    result=PrepareSharedMountPointResult,
):
    """The directory is the operator's: it is never made here, or a mount that failed would go unnoticed (PS-08)."""

    def __init__(self, watched: StorageWatch) -> None:
        self._watched = watched

    async def run(self, args: PrepareSharedMountPointTask, work: Work) -> PrepareSharedMountPointResult:
        del work
        path = checked_path("the URL of the primary storage", args.url)
        mount = Mount(args.primary_storage_uuid, path)
        result = PrepareSharedMountPointResult()
        try:
            async with within(mount):
                await self._watched.mounts.must_answer(mount)
                result.total_capacity, result.available_capacity = found = await looked_at(mount, first=args.first)
                self._watched.mounts.watch(mount, *found)
        except TaskError as error:
            result.error = self._watched.mounts.passed_over(mount, args, error)
        result.network.CopyFrom(await self._watched.networks.watch(args.primary_storage_uuid, args.network))
        return result


async def looked_at(mount: Mount, *, first: bool) -> tuple[int, int]:
    """Total and available bytes of what is mounted. UNREACHABLE where whoever looks hangs."""
    look: Asking[tuple[int, int]] = Asking()
    try:
        return await look.ask(partial(look_at, mount.path, mount.storage_uuid, first=first), TRIAL_SECONDS)
    except TimeoutError:
        raise TaskError("UNREACHABLE", silent(mount)) from None
    except OSError as error:
        raise storage_error(f"{mount.path} cannot be used as a primary storage", error) from None


def look_at(path: Path, storage_uuid: str, *, first: bool) -> tuple[int, int]:
    """Total and available bytes of a shared directory, once it is known to be the one that other hosts see."""
    if UUID.fullmatch(storage_uuid) is None:
        raise TaskError("INVALID", f"primary_storage_uuid {storage_uuid[:64]!r} is no uuid")
    if not path.is_dir():
        raise TaskError("NOT_FOUND", f"there is no directory {path}; mount the shared file system there")
    mark = mark_of(path, storage_uuid)
    if first:
        try:
            mark.touch(mode=0o644)
        except OSError as error:
            raise storage_error(f"{path} cannot be used as a primary storage", error) from None
    if not mark.is_file():
        text = f"{path} is not the file system that other hosts have there: it lacks {mark.name}; mount the same one"
        raise TaskError("INVALID", text)
    found = _prepare(path)
    return found.total_capacity, found.available_capacity


def _prepare(path: Path) -> PrepareLocalStorageResult:
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Being root says nothing about a read-only or a full file system: try.
        with tempfile.TemporaryFile(dir=path) as trial:
            trial.write(b"\0" * 4096)
            os.fsync(trial.fileno())
    except (FileExistsError, NotADirectoryError) as error:
        raise TaskError(
            "INVALID", f"{path} cannot hold a primary storage: {error.filename} is not a directory"
        ) from None
    except OSError as error:
        raise storage_error(f"{path} cannot be used as a primary storage", error) from None
    return _measure(path)


def _measure(path: Path) -> PrepareLocalStorageResult:
    values = os.statvfs(path)
    return PrepareLocalStorageResult(
        total_capacity=values.f_blocks * values.f_frsize, available_capacity=values.f_bavail * values.f_frsize
    )


def storage_error(what: str, error: OSError) -> TaskError:
    """What the file system refused, with NO_SPACE told apart."""
    reason = "NO_SPACE" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "FAILED"
    return TaskError(reason, f"{what}: {error.strerror or error}")
