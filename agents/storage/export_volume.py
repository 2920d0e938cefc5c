"""Copies what a volume's frozen file holds into one file, and brings that to a backup storage (BS-22, VM-17)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.image_upload import upload, uploaded
from agents.storage.local_storage import storage_error
from agents.storage.paths import regular_file
from agents.storage.ssh import NoConnection
from agents.storage.volumes import header_of, publish, qemu_img, volume_path
from zcloud.v1.image_task_pb2 import ExportVolumeResult, ExportVolumeTask

BLOCK = 1 << 20
# Seconds between tries to go on with a transfer whose SSH connection was lost.
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


class ExportVolume(Handler[ExportVolumeTask, ExportVolumeResult], task=ExportVolumeTask, result=ExportVolumeResult):
    """Has no probe: what lies on the storage is believed only after it was read as a whole, which is done there."""

    def __init__(self, retry_seconds: tuple[float, ...] = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds

    async def run(self, args: ExportVolumeTask, work: Work) -> ExportVolumeResult:
        source, part = volume_path(args.path, args.volume_uuid), volume_path(args.part_path, args.volume_uuid)
        if not await asyncio.to_thread(regular_file, "the volume's file", source):
            raise TaskError("NOT_FOUND", f"the file {source} is not there")
        if part == source:
            raise TaskError("INVALID", f"{part} cannot be written from itself")
        try:
            await _copy(source, part, work)
            size, sha256 = await asyncio.to_thread(_digest, part)
            if size > args.max_bytes:
                text = f"the image has {size} bytes, and the backup storage has room for {args.max_bytes}"
                raise TaskError("NO_SPACE", text)
            await self._send(args, part, size, work)
        except OSError as error:
            raise storage_error(f"{part} cannot be written", error) from None
        finally:
            part.unlink(missing_ok=True)
        return ExportVolumeResult(actual_size=size, sha256=sha256)

    async def _send(self, args: ExportVolumeTask, part: Path, size: int, work: Work) -> None:
        """From the beginning, whatever lies there; after a loss from where it was."""
        at = 0
        for pause in (*self._retry_seconds, None):
            try:
                await send(args, part, at, size, work)
                return
            except NoConnection as error:
                if pause is None or not (at or error.was_open):
                    raise
                work.progress(at * 100 // size, f"{error.message}; trying again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(work.aborted.wait(), pause)
            work.check()
            with contextlib.suppress(NoConnection):
                at = min(size, (await uploaded(args.target, args.storage_url, args.image_uuid))[0])


async def send(args: ExportVolumeTask, part: Path, at: int, size: int, work: Work) -> None:
    """Where DownloadImageTask with upload:// looks for it."""
    there = await upload(args.target, args.storage_url, args.image_uuid, at, size, _blocks(args, part, at, size, work))
    if there != size:
        raise TaskError("FAILED", f"{there} of {size} bytes came to {args.storage_url}")


async def _blocks(args: ExportVolumeTask, part: Path, at: int, size: int, work: Work) -> AsyncIterator[bytes]:
    began, before = time.monotonic(), at
    with await asyncio.to_thread(open, part, "rb") as file:
        file.seek(at)
        while block := await asyncio.to_thread(file.read, BLOCK):
            work.check()
            yield block
            at += len(block)
            work.progress(50 + at * 50 // size, f"{at} of {size} bytes sent")
            if args.rate_limit:
                await asyncio.sleep(max(0.0, (at - before) / args.rate_limit - (time.monotonic() - began)))


async def _copy(source: Path, part: Path, work: Work) -> None:
    """One file with nothing below it; holes stay holes."""
    work.progress(0, f"copying {source.name}")
    scratch = part.with_name(part.name + ".part")
    scratch.unlink(missing_ok=True)
    try:
        copying = asyncio.ensure_future(
            qemu_img("convert", "-q", "-f", "qcow2", "-O", "qcow2", "--", str(source), str(scratch))
        )
        aborted = asyncio.ensure_future(work.aborted.wait())
        try:
            await asyncio.wait({copying, aborted}, return_when=asyncio.FIRST_COMPLETED)
            work.check()
            await copying
        finally:
            for one in (copying, aborted):
                one.cancel()
            await asyncio.gather(copying, aborted, return_exceptions=True)
        if (await asyncio.to_thread(header_of, scratch)).backing_file:
            raise TaskError("FAILED", f"{scratch} still lies on another file")
        await asyncio.to_thread(publish, scratch, part)
    finally:
        scratch.unlink(missing_ok=True)


def _digest(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
        return os.fstat(file.fileno()).st_size, digest.hexdigest()
