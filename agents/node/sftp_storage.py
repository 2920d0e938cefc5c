"""What the management node does on SFTP backup storages (BS-14): measure, fetch images into them, remove images."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

from agents.node.packing import program
from agents.runtime.task import Handler, TaskError, Work
from agents.storage.paths import checked_path
from agents.storage.remote_helper import call_helper, check_directory, check_python, put_helper
from agents.storage.ssh import NoConnection, SshSession, open_ssh
from zcloud.v1.backup_storage_task_pb2 import ConnectSftpBackupStorageResult, ConnectSftpBackupStorageTask
from zcloud.v1.host_task_pb2 import SshTarget
from zcloud.v1.image_task_pb2 import DeleteImageResult, DeleteImageTask, DownloadImageResult, DownloadImageTask

# Nothing but the standard library is imported by these.
HELPER_FILES = (
    "agents/__init__.py",
    "agents/storage/__init__.py",
    "agents/storage/addresses.py",
    "agents/storage/helper.py",
    "agents/storage/image_format.py",
    "agents/storage/image_receiving.py",
    "agents/storage/image_remote_sources.py",
    "agents/storage/image_sources.py",
    "agents/storage/imagestore/__init__.py",
    "agents/storage/imagestore/client.py",
    "agents/storage/imagestore/store.py",
    "agents/storage/sftp_helper.py",
)
HELPER_MAIN = b"""\
import sys
from agents.storage.helper import main
from agents.storage.sftp_helper import OPERATIONS
sys.exit(main(OPERATIONS))
"""
STORE_FILES = (
    *HELPER_FILES,
    "agents/storage/imagestore/operations.py",
    "agents/storage/imagestore/server.py",
)
STORE_MAIN = b"""\
import sys
from agents.storage.helper import main
from agents.storage.imagestore.operations import OPERATIONS
from agents.storage.imagestore.server import serve
if sys.argv[1:2] == ["serve"]:
    sys.exit(serve(sys.argv[2], int(sys.argv[3]), sys.argv[0]))
sys.exit(main(OPERATIONS))
"""
# Seconds between tries to go on with a transfer whose SSH connection was lost.
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


@functools.cache
def _program() -> bytes:
    return program(HELPER_FILES, HELPER_MAIN)


@functools.cache
def _store_program() -> bytes:
    return program(STORE_FILES, STORE_MAIN)


@contextlib.asynccontextmanager
async def open_helper(
    target: SshTarget, url: str, make_directory: bool = False, *, store: bool = False
) -> AsyncIterator[tuple[SshSession, str]]:
    """A session and the helper's path; looked after each time, since a server may have been set up anew meanwhile.

    Only a connect makes the storage's directory: where it is missing later, its disk is not mounted.
    """
    checked_path("the URL of the backup storage", url)
    async with open_ssh(target) as session:
        await check_python(session)
        if not make_directory:
            await check_directory(session, url)
        name, packed = ("imagestore.pyz", _store_program()) if store else ("sftp_helper.pyz", _program())
        yield session, await put_helper(session, name, packed, f"{url}/.zcloud")


class ConnectSftpBackupStorage(
    Handler[ConnectSftpBackupStorageTask, ConnectSftpBackupStorageResult],
    task=ConnectSftpBackupStorageTask,
    result=ConnectSftpBackupStorageResult,
):
    """Measures the server as it is now, so that it has no probe: after a crash it is measured again."""

    async def run(self, args: ConnectSftpBackupStorageTask, work: Work) -> ConnectSftpBackupStorageResult:
        async with open_helper(args.target, args.url, make_directory=True) as (session, program):
            have = await call_helper(session, program, {"operation": "capacity", "url": args.url}, work)
            return ConnectSftpBackupStorageResult(
                total_capacity=have["total_capacity"],
                available_capacity=have["available_capacity"],
                host_key=session.host_key,
                addresses=have["addresses"],
            )


class DownloadImage(
    Handler[DownloadImageTask, DownloadImageResult], task=DownloadImageTask, result=DownloadImageResult
):
    """A connection that is lost in the middle is made anew, and the transfer goes on where it was."""

    def __init__(self, retry_seconds: tuple[float, ...] = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds

    async def run(self, args: DownloadImageTask, work: Work) -> DownloadImageResult:
        done, begun = None, False
        for pause in (*self._retry_seconds, None):
            try:
                done = await self._call(args, work, probe=False)
                break
            except NoConnection as error:
                # A server that is away from the beginning is said to be at once.
                begun = begun or error.was_open
                if pause is None or not begun:
                    raise
                work.progress(0, f"{error.message}; trying again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(work.aborted.wait(), pause)
            work.check()
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
            "username": args.username,
            "password": args.password,
            "private_key": args.private_key,
            "own_keys": args.own_keys,
            "rate_limit": args.rate_limit,
        }
        if args.upload_size:
            request["upload_size"] = args.upload_size
        if args.source_path:
            request |= _of_storage(args.source, args.source_path)
        if args.HasField("source_store"):
            access = args.source_store
            request["source_store"] = {"url": access.url, "token": access.token, "certificate": access.certificate}
            request["image_url"] = f"{access.url}/images/{args.image_uuid}"
        if args.image_store:
            request["metadata"] = args.metadata
        async with open_helper(args.target, args.storage_url, store=args.image_store) as (session, program):
            done = await call_helper(session, program, request, work)
        return DownloadImageResult(**done) if done else None


def _of_storage(source: SshTarget, path: str) -> dict[str, Any]:
    """Another backup storage of the cloud as the source: it may be anywhere, and its key is pinned."""
    checked_path("the image's path on the backup storage that has it", path)
    host = f"[{source.hostname}]" if ":" in source.hostname else source.hostname
    return {
        "image_url": f"sftp://{host}:{source.port or 22}{urllib.parse.quote(path)}",
        "trusted": True,
        "username": source.username,
        "password": source.password,
        "private_key": source.private_key,
        "host_key": source.host_key,
    }


class DeleteImage(Handler[DeleteImageTask, DeleteImageResult], task=DeleteImageTask, result=DeleteImageResult):
    async def run(self, args: DeleteImageTask, work: Work) -> DeleteImageResult:
        await self._call(args, work, probe=False)
        return DeleteImageResult()

    async def probe(self, args: DeleteImageTask) -> DeleteImageResult | None:
        return None if await self._call(args, None, probe=True) is None else DeleteImageResult()

    async def _call(self, args: DeleteImageTask, work: Work | None, probe: bool) -> Any:
        request = {"operation": "delete", "probe": probe, "url": args.storage_url, "install_path": args.install_path}
        async with open_helper(args.target, args.storage_url, store=args.image_store) as (session, program):
            return await call_helper(session, program, request, work)
