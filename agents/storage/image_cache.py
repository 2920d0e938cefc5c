"""The image cache of a primary storage: by SFTP, HTTPS or on a share, whole and checked or not at all (IMG-02)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.helper import HelperError
from agents.storage.image_share import ShareCopy, on_share
from agents.storage.imagestore.client import open_image
from agents.storage.local_storage import storage_error
from agents.storage.paths import checked_path, regular_file, remove_empty_parent, sync_directory
from agents.storage.ssh import open_ssh
from zcloud.v1.image_task_pb2 import CacheImageResult, CacheImageTask, DeleteCachedImageResult, DeleteCachedImageTask

log = logging.getLogger(__name__)
# Read at once: asyncssh splits it into requests that travel together.
BLOCK = 4 << 20
T = TypeVar("T")


def _digest_file(path: Path) -> Path:
    """Beside a cached image: the SHA-256 that it had when it was checked."""
    return path.with_name(path.name + ".sha256")


def _part_file(path: Path) -> Path:
    return path.with_name(path.name + ".part")


class CacheLocks:
    """One lock per cached file, so that of two tasks for one image the second finds it there."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    def of(self, path: Path) -> asyncio.Lock:
        return self._locks.setdefault(path, asyncio.Lock())


class CacheImage(Handler[CacheImageTask, CacheImageResult], task=CacheImageTask, result=CacheImageResult):
    def __init__(self, locks: CacheLocks) -> None:
        self._locks = locks

    async def run(self, args: CacheImageTask, work: Work) -> CacheImageResult:
        path = checked_path("the cache path", args.cache_path)
        checked_path("the image's path on the backup storage", args.source_path)
        if len(args.sha256) != 64:
            raise TaskError("INVALID", f"the image {args.source_path} has no SHA-256 to check it by: {args.sha256!r}")
        async with self._locks.of(path):
            work.check()
            there = await self.probe(args)
            if there is not None:
                return there
            try:
                await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
                copied = await _copy_on_share(args, path, work)
                if not copied:
                    await self._fetch(args, path, work)
            except OSError as error:
                raise storage_error(f"{path} cannot be written", error) from None
        return CacheImageResult(actual_size=args.actual_size, on_share=copied)

    async def probe(self, args: CacheImageTask) -> CacheImageResult | None:
        path = checked_path("the cache path", args.cache_path)
        intact = await asyncio.to_thread(_is_intact, path, args.sha256, args.actual_size)
        return CacheImageResult(actual_size=args.actual_size) if intact else None

    async def _fetch(self, args: CacheImageTask, path: Path, work: Work) -> None:
        part = _part_file(path)
        regular_file("the cached image", path)
        resumed = regular_file("the partial image", part) and part.stat().st_size > 0
        try:
            digest = await _transfer(args, part, work)
            if digest != args.sha256.lower() and resumed:
                # The beginning may be of another file: once more from nothing, before anyone is blamed.
                part.unlink()
                digest = await _transfer(args, part, work)
        except TaskError as error:
            # What arrived is worth keeping only where the same transfer may go on.
            if error.reason != "UNREACHABLE":
                part.unlink(missing_ok=True)
            raise
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if digest != args.sha256.lower():
            part.unlink()
            raise TaskError("INVALID", f"{args.source_path} has SHA-256 {digest} instead of {args.sha256.lower()}")
        await asyncio.to_thread(_publish, part, path, digest)


async def _copy_on_share(args: CacheImageTask, path: Path, work: Work) -> bool:
    """Whether the image was there, and is what it should be; if not, nothing was done, and it must be sent."""
    source = await asyncio.to_thread(on_share, args.shared_path, args.actual_size)
    part = _part_file(path)
    regular_file("the cached image", path)
    regular_file("the partial image", part)
    if source is None:
        return False
    try:
        digest = await _copied(source, part, args, work)
    except OSError as error:
        log.warning("%s on the share cannot be copied, it is fetched: %s", source, error)
        digest = ""
    except TaskError:  # given up
        part.unlink(missing_ok=True)
        raise
    if digest != args.sha256.lower():
        part.unlink(missing_ok=True)
        return False
    await asyncio.to_thread(_publish, part, path, digest)
    return True


async def _copied(source: Path, part: Path, args: CacheImageTask, work: Work) -> str:
    copy, came, began = await asyncio.to_thread(ShareCopy, source, part), 0, time.monotonic()
    try:
        while step := await asyncio.to_thread(copy.step):
            came += step
            work.check()
            work.progress(came * 100 // max(came, args.actual_size), f"{came} of {args.actual_size} bytes")
            if args.rate_limit:
                await _wait(work, max(0.0, came / args.rate_limit - (time.monotonic() - began)))
    finally:
        await asyncio.to_thread(copy.close)
    whole = await asyncio.to_thread(_Part, part, args.actual_size)
    try:
        return whole.finish()
    finally:
        whole.close()


class _Part:
    """The partial file: what it holds already, its digest so far, and its end where more is added."""

    def __init__(self, path: Path, total: int) -> None:
        self._file = open(path, "a+b")  # noqa: SIM115 (closed by close)
        if self._file.tell() > total:
            self._file.truncate(0)
        self._file.seek(0)
        self._digest = hashlib.sha256()
        self._begun = time.monotonic()
        for block in iter(lambda: self._file.read(1 << 20), b""):
            self._digest.update(block)
        self.size = self._began_with = self._file.tell()

    def ahead(self, rate: int) -> float:
        """Seconds that what has come is too early, for so many bytes each second."""
        came = self.size - self._began_with
        return max(0.0, came / rate - (time.monotonic() - self._begun)) if rate else 0.0

    def append(self, block: bytes) -> None:
        self._file.write(block)
        self._digest.update(block)
        self.size += len(block)

    def finish(self) -> str:
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


async def _transfer(args: CacheImageTask, path: Path, work: Work) -> str:
    """Bring the partial file to its full size, going on where it ends; returns the SHA-256 of all of it."""
    total = args.actual_size
    part = await asyncio.to_thread(_Part, path, total)
    try:
        values = os.statvfs(path.parent)
        free = values.f_bavail * values.f_frsize
        if total - part.size > free:
            raise TaskError(
                "NO_SPACE", f"the image needs {total - part.size} bytes more, {path.parent} has {free} left"
            )
        await (_from_store if args.HasField("store") else _by_sftp)(args, part, total, work)
        return await asyncio.to_thread(part.finish)
    finally:
        part.close()


async def _by_sftp(args: CacheImageTask, part: _Part, total: int, work: Work) -> None:
    async with (
        open_ssh(args.source) as session,
        session.connection.start_sftp_client() as sftp,
        sftp.open(args.source_path, "rb") as source,
    ):
        size = (await source.stat()).size
        if size != total:
            raise TaskError("INVALID", f"{args.source_path} on {session.place} has {size} bytes instead of {total}")
        while part.size < total:
            block = bytes(await source.read(min(BLOCK, total - part.size), part.size))  # type: ignore[arg-type]
            await _add(args, part, block, total, work)


async def _from_store(args: CacheImageTask, part: _Part, total: int, work: Work) -> None:
    """By HTTPS; from where the part ends, as long as the image there is the one that is wanted."""
    access = {"url": args.store.url, "token": args.store.token, "certificate": args.store.certificate}
    if part.size == total:
        return
    opened = open_image(access, args.image_uuid, part.size, f'"{args.sha256.lower()}"')
    body, size = await _from_thread(args, opened.__enter__)
    try:
        if size != total or body.offset != part.size:
            raise TaskError("INVALID", f"image {args.image_uuid} in {args.store.url} is another one: {size} bytes")
        while part.size < total:
            block = await _from_thread(args, body.read, min(BLOCK, total - part.size))
            if not block:
                raise TaskError("UNREACHABLE", f"{args.store.url} gave {part.size} of {total} bytes; try again")
            await _add(args, part, block, total, work)
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


async def _from_thread(args: CacheImageTask, read: Callable[..., T], *given: Any) -> T:
    """What the store's server answers, or why it does not."""
    try:
        return await asyncio.to_thread(read, *given)
    except HelperError as error:
        raise TaskError(error.reason, str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise TaskError("UNREACHABLE", f"{args.store.url} was lost: {error or type(error).__name__}") from None


async def _add(args: CacheImageTask, part: _Part, block: bytes, total: int, work: Work) -> None:
    work.check()
    if not block:
        raise TaskError("INVALID", f"{args.source_path} ended at {part.size} of {total} bytes")
    await asyncio.to_thread(part.append, block)
    work.progress(part.size * 100 // total, f"{part.size} of {total} bytes")
    await _wait(work, part.ahead(args.rate_limit))


async def _wait(work: Work, seconds: float) -> None:
    """Until then, or until it is given up."""
    if seconds:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work.aborted.wait(), seconds)
        work.check()


def _publish(part: Path, path: Path, digest: str) -> None:
    """Digest first: a cached image without one is fetched again, one with the digest of another never is."""
    path.unlink(missing_ok=True)
    note = _digest_file(path)
    with open(note, "w", encoding="ascii") as file:
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)
    sync_directory(path.parent)


def _is_intact(path: Path, sha256: str, size: int) -> bool:
    try:
        noted = _digest_file(path).read_text(encoding="ascii")
        return regular_file("the cached image", path) and path.stat().st_size == size and noted == sha256.lower()
    except (FileNotFoundError, NotADirectoryError):
        return False


class DeleteCachedImage(
    Handler[DeleteCachedImageTask, DeleteCachedImageResult], task=DeleteCachedImageTask, result=DeleteCachedImageResult
):
    def __init__(self, locks: CacheLocks) -> None:
        self._locks = locks

    async def run(self, args: DeleteCachedImageTask, work: Work) -> DeleteCachedImageResult:
        del work
        path = checked_path("the cache path", args.cache_path)
        async with self._locks.of(path):
            try:
                await asyncio.to_thread(_remove, path)
            except OSError as error:
                raise storage_error(f"{path} cannot be removed", error) from None
        return DeleteCachedImageResult()

    async def probe(self, args: DeleteCachedImageTask) -> DeleteCachedImageResult | None:
        path = checked_path("the cache path", args.cache_path)
        return None if await asyncio.to_thread(_anything_left, path) else DeleteCachedImageResult()


def _all_files(path: Path) -> list[Path]:
    return [path, _part_file(path), _digest_file(path)]


def _anything_left(path: Path) -> bool:
    return any(os.path.lexists(name) for name in _all_files(path))


def _remove(path: Path) -> None:
    for name in _all_files(path):
        try:
            if regular_file("the cached image", name):
                name.unlink(missing_ok=True)
        except NotADirectoryError:
            return
    remove_empty_parent(path, path.stem)
