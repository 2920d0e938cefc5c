"""Local primary storage: a directory of the host, measured by the file system that it lies on (PS-06)."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from pathlib import Path

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.paths import checked_path
from zcloud.v1.primary_storage_task_pb2 import PrepareLocalStorageResult, PrepareLocalStorageTask


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
