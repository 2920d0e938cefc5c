"""What the management node does on SFTP backup storages (BS-14): measure, fetch images into them, remove images."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.paths import checked_path
from agents.storage.remote_helper import call_helper, check_directory, check_python, put_helper
from agents.storage.ssh import SshSession, open_ssh
from zcloud.v1.backup_storage_task_pb2 import ConnectSftpBackupStorageResult, ConnectSftpBackupStorageTask
from zcloud.v1.host_task_pb2 import SshTarget
from zcloud.v1.image_task_pb2 import DeleteImageResult, DeleteImageTask, DownloadImageResult, DownloadImageTask


@functools.cache
def _program() -> bytes:
    return resources.files("agents.storage").joinpath("sftp_helper.py").read_bytes()


@contextlib.asynccontextmanager
async def _helper(target: SshTarget, url: str, make_directory: bool = False) -> AsyncIterator[tuple[SshSession, str]]:
    """A session and the helper's path; looked after each time, since a server may have been set up anew meanwhile.

    Only a connect makes the storage's directory: where it is missing later, its disk is not mounted.
    """
    checked_path("the URL of the backup storage", url)
    async with open_ssh(target) as session:
        await check_python(session)
        if not make_directory:
            await check_directory(session, url)
        yield session, await put_helper(session, "sftp_helper.py", _program(), f"{url}/.zcloud")


class ConnectSftpBackupStorage(
    Handler[ConnectSftpBackupStorageTask, ConnectSftpBackupStorageResult],
    task=ConnectSftpBackupStorageTask,
    result=ConnectSftpBackupStorageResult,
):
    """Measures the server as it is now, so that it has no probe: after a crash it is measured again."""

    async def run(self, args: ConnectSftpBackupStorageTask, work: Work) -> ConnectSftpBackupStorageResult:
        async with _helper(args.target, args.url, make_directory=True) as (session, program):
            have = await call_helper(session, program, {"operation": "capacity", "url": args.url}, work)
            return ConnectSftpBackupStorageResult(
                total_capacity=have["total"], available_capacity=have["available"], host_key=session.host_key
            )


class DownloadImage(
    Handler[DownloadImageTask, DownloadImageResult], task=DownloadImageTask, result=DownloadImageResult
):
    async def run(self, args: DownloadImageTask, work: Work) -> DownloadImageResult:
        done = await self._call(args, work, probe=False)
        if done is None:
            raise TaskError(
                "FAILED", f"the helper on {args.target.hostname} gave no result for image {args.image_uuid}"
            )
        return done

    async def probe(self, args: DownloadImageTask) -> DownloadImageResult | None:
        return await self._call(args, None, probe=True)

    async def _call(self, args: DownloadImageTask, work: Work | None, probe: bool) -> DownloadImageResult | None:
        request: dict[str, Any] = {
            "operation": "download",
            "probe": probe,
            "url": args.storage_url,
            "image_uuid": args.image_uuid,
            "image_url": args.image_url,
            "format": args.format,
            "sha256": args.sha256,
            "max_bytes": args.max_bytes,
            "allowed_networks": list(args.allowed_networks),
            "allowed_paths": list(args.allowed_paths),
        }
        async with _helper(args.target, args.storage_url) as (session, program):
            done = await call_helper(session, program, request, work)
        return DownloadImageResult(**done) if done else None


class DeleteImage(Handler[DeleteImageTask, DeleteImageResult], task=DeleteImageTask, result=DeleteImageResult):
    async def run(self, args: DeleteImageTask, work: Work) -> DeleteImageResult:
        await self._call(args, work, probe=False)
        return DeleteImageResult()

    async def probe(self, args: DeleteImageTask) -> DeleteImageResult | None:
        return None if await self._call(args, None, probe=True) is None else DeleteImageResult()

    async def _call(self, args: DeleteImageTask, work: Work | None, probe: bool) -> Any:
        request = {"operation": "delete", "probe": probe, "url": args.storage_url, "install_path": args.install_path}
        async with _helper(args.target, args.storage_url) as (session, program):
            return await call_helper(session, program, request, work)
