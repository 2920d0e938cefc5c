"""What callers upload goes straight to the backup storage, by SFTP: the node keeps nothing of it (IMG-06, IMG-08)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncssh

from agents.runtime.task import TaskError
from agents.storage.paths import checked_path
from agents.storage.remote_helper import check_directory
from agents.storage.ssh import open_ssh
from zcloud.v1.host_task_pb2 import SshTarget


def _path(storage_url: str, image_uuid: str) -> str:
    checked_path("the URL of the backup storage", storage_url)
    return f"{storage_url}/uploads/{image_uuid}"


async def uploaded(target: SshTarget, storage_url: str, image_uuid: str) -> tuple[int, float]:
    """Bytes that are there, and when the last of them came (by the storage's clock; 0 when there are none)."""
    path = _path(storage_url, image_uuid)
    async with open_ssh(target) as session:
        await check_directory(session, storage_url)
        async with session.connection.start_sftp_client() as sftp:
            try:
                found = await sftp.lstat(path)
            except asyncssh.SFTPNoSuchFile:
                return 0, 0.0
            return found.size or 0, float(found.mtime or 0)


async def upload(
    target: SshTarget, storage_url: str, image_uuid: str, offset: int, size: int, blocks: AsyncIterator[bytes]
) -> int:
    """Write from the offset on; returns the bytes that are there when the blocks end.

    What came before a loss stays, and is on the disk when this returns. TaskError INVALID for a gap and for more bytes
    than size, NO_SPACE with figures.
    """
    path = _path(storage_url, image_uuid)
    async with open_ssh(target) as session:
        await check_directory(session, storage_url)
        async with session.connection.start_sftp_client() as sftp:
            await sftp.makedirs(f"{storage_url}/uploads", asyncssh.SFTPAttrs(permissions=0o755), exist_ok=True)
            if await sftp.islink(path):
                raise TaskError("REFUSED", f"{path} on {session.place} is a link; remove it by hand")
            flags = asyncssh.FXF_READ | asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
            async with sftp.open(path, flags, asyncssh.SFTPAttrs(permissions=0o600), encoding=None) as file:
                have = (await file.stat()).size or 0
                if offset > have:
                    raise TaskError("INVALID", f"data begin at {offset}, but only {have} bytes are there")
                await _need(sftp, storage_url, size - have)
                await file.truncate(offset)
                at = offset
                async for block in blocks:
                    if at + len(block) > size:
                        raise TaskError("INVALID", f"more than the {size} bytes that were announced")
                    try:
                        await file.write(block, at)
                    except asyncssh.SFTPFailure:
                        # Version 3 of the protocol has no word for a full disk.
                        await _need(sftp, storage_url, len(block))
                        raise
                    at += len(block)
                await file.fsync()
                return at


async def _need(sftp: asyncssh.SFTPClient, storage_url: str, size: int) -> None:
    values = await sftp.statvfs(storage_url)
    free = values.bavail * values.frsize
    if size > free:
        raise TaskError("NO_SPACE", f"{size} bytes more are needed, the disk of the backup storage has {free} left")
