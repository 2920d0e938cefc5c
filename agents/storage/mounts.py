"""What is mounted for storages: looked at again and again, told of when it is gone, and mounted anew (PS-07, PS-08)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agents.runtime.task import TaskError
from agents.storage.bounded import Asking
from agents.storage.nfs import client
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.primary_storage_task_pb2 import PrepareNfsStorageTask, PrepareSharedMountPointTask, StorageMountSeen

Preparing = PrepareNfsStorageTask | PrepareSharedMountPointTask

log = logging.getLogger(__name__)
LOOK_SECONDS = 5.0
# Between telling that a mount is gone and mounting it anew: what is told later would take the place of it.
TELL_SECONDS = 1.0
# For a server that may be silent, which others have to wait for: it is asked again.
AGAIN_SECONDS = 20.0
# Less than those who ask wait for a report.
PREPARE_SECONDS = 110.0
# What mounting anew does not help against: a server that lets nobody write, or has another export there.
NOT_MENDED = (errno.EROFS, errno.ENOENT)


def mark_of(path: Path, storage_uuid: str) -> Path:
    """The file by which hosts know that they have the same file system."""
    return path / f".zcloud-{storage_uuid}"


@dataclass(frozen=True)
class Mount:
    """url, options: of an export, which the host mounts by itself; empty where the operator has mounted something."""

    storage_uuid: str
    path: Path
    url: str = ""
    options: str = ""

    def measure(self) -> tuple[int, int]:
        """Total and available bytes; OSError when it cannot be used. May take for ever."""
        if self.url and not client.mounted_at(self.path):
            raise OSError(errno.ENODEV, f"{self.url} is not mounted at {self.path}")
        values = os.statvfs(self.path)
        if values.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, f"{self.path} has become read-only")
        mark = mark_of(self.path, self.storage_uuid)
        if not mark.is_file():
            text = f"{self.path} is not the file system that other hosts have there: it lacks {mark.name}"
            raise OSError(errno.ENOENT, text)
        return values.f_blocks * values.f_frsize, values.f_bavail * values.f_frsize


@contextlib.asynccontextmanager
async def within(mount: Mount) -> AsyncIterator[None]:
    """UNREACHABLE for what takes so long that nobody would hear what came of it."""
    try:
        async with asyncio.timeout(PREPARE_SECONDS):
            yield
    except TimeoutError:
        raise TaskError("UNREACHABLE", silent(mount)) from None


class StorageMounts:
    """Those that this host was told of since it started: it is told of all whenever it connects."""

    def __init__(self) -> None:
        self._watched: dict[str, Mount] = {}
        self._seen: dict[str, StorageMountSeen] = {}
        self._asking: defaultdict[str, Asking[tuple[int, int]]] = defaultdict(Asking)
        # What mounting anew could help against, and why it did not.
        self._faults: dict[str, int] = {}
        self._hints: dict[str, str] = {}
        # The last process of each that has ended while it had it mounted, by a name that no other has.
        self._ended: dict[str, str] = {}
        # One mounts or unmounts at a time.
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def watch(self, mount: Mount, total: int, available: int) -> None:
        """From now on; it has just been found well."""
        self._watched[mount.storage_uuid] = mount
        self._well(mount.storage_uuid, total, available)

    def passed_over(self, mount: Mount, task: Preparing, error: TaskError) -> str:
        """Why a host that connects does without it; raises the error where it is another's job.

        From now on it is watched: mounted, and told of, once that can be done. What no host has had yet lacks the mark,
        which is nothing to leave behind unasked.
        """
        if not task.connecting:
            raise error
        uuid = mount.storage_uuid
        if task.first:
            self.forget(uuid)
            return f"{error.message}; ReconnectPrimaryStorage has it looked at again"
        self._watched[uuid] = mount
        self._unwell(uuid, error.message)
        if mount.url:
            self._hints[uuid] = error.message
        return error.message

    def forget(self, storage_uuid: str) -> None:
        """No more."""
        for book in (self._watched, self._seen, self._faults, self._hints, self._ended):
            book.pop(storage_uuid, None)

    async def must_answer(self, mount: Mount) -> None:
        """UNREACHABLE where whoever looks would hang. What is mounted by a process that has ended is taken away."""
        try:
            await self._asking[mount.storage_uuid].ask(mount.measure)
        except TimeoutError:
            raise TaskError("UNREACHABLE", silent(mount)) from None
        except OSError as error:
            if error.errno == errno.ENOTCONN and mount.url:
                self._has_ended(mount.storage_uuid)
                await client.discard(mount.path)

    async def unmount(self, mount: Mount) -> None:
        """REFUSED while it is in use. Where a server is gone for good, nobody need wait for it."""
        async with self.locks[mount.storage_uuid]:
            try:
                await self.must_answer(mount)
            except TaskError:
                user = await asyncio.to_thread(client.user_of, mount.path)
                if user:
                    text = f"{mount.path} does not answer, and process {user} has files open there"
                    raise TaskError("REFUSED", text) from None
                await client.discard(mount.path)
            while await asyncio.to_thread(client.mounted_at, mount.path):
                await client.unmount(mount.path)
            # What else may lie there is not ours to remove.
            with contextlib.suppress(OSError):
                await asyncio.to_thread(mount.path.rmdir)
            self.forget(mount.storage_uuid)

    async def news(self) -> list[StorageMountSeen]:
        """What has become unusable, or usable, or is so for another reason."""
        before = {uuid: self._seen[uuid].error for uuid in self._watched}
        await asyncio.gather(*(self._look(mount) for mount in tuple(self._watched.values())))
        return [seen for uuid, seen in self._seen.items() if seen.error != before.get(uuid, seen.error)]

    def _has_ended(self, uuid: str) -> None:
        """Found once, and not again until it is mounted anew."""
        if self._faults.get(uuid) != errno.ENOTCONN:
            self._ended[uuid] = secrets.token_hex(8)

    def _unwell(self, uuid: str, error: str) -> None:
        ended = self._ended.get(uuid, "")
        self._seen[uuid] = StorageMountSeen(primary_storage_uuid=uuid, error=error, ended_process=ended)

    async def mend(self) -> bool:
        """Mount anew what is gone; whether there was anything to try.

        What a process had mounted that has ended can only give errors to those that have files open there. What
        hangs is waited for, and what others use is left to them.
        """
        broken = [self._watched[uuid] for uuid in self._faults if self._watched[uuid].url]
        await asyncio.gather(*(self._mend(mount) for mount in broken))
        return bool(broken)

    def add_to(self, inventory: HostInventory) -> HostInventory:
        """What was seen last, once more: a report may have been lost."""
        inventory.storage_mounts.extend(self._seen.values())
        return inventory

    async def report(self, changes: asyncio.Queue[HostInventory]) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._tell(changes, await self.news())
                if self._faults:
                    await asyncio.sleep(TELL_SECONDS)
                    if await self.mend():
                        self._tell(changes, await self.news())
            except Exception:
                log.exception("what is mounted for storages cannot be looked at")

    def _tell(self, changes: asyncio.Queue[HostInventory], news: list[StorageMountSeen]) -> None:
        for seen in news:
            log.warning("storage %s: %s", seen.primary_storage_uuid, seen.error or "it can be used again")
        if news:
            changes.put_nowait(HostInventory(storage_mounts=news))

    def _well(self, uuid: str, total: int, available: int) -> None:
        self._faults.pop(uuid, None)
        self._hints.pop(uuid, None)
        self._seen[uuid] = StorageMountSeen(
            primary_storage_uuid=uuid,
            total_capacity=total,
            available_capacity=available,
            ended_process=self._ended.get(uuid, ""),
        )

    async def _look(self, mount: Mount) -> None:
        uuid = mount.storage_uuid
        try:
            total, available = await self._asking[uuid].ask(mount.measure)
        except TimeoutError:
            if self._watched.get(uuid) is mount:
                self._faults.pop(uuid, None)
                self._unwell(uuid, silent(mount))
        except OSError as error:
            if self._watched.get(uuid) is mount:
                if error.errno == errno.ENOTCONN and mount.url:
                    self._has_ended(uuid)
                if error.errno not in NOT_MENDED and mount.url:
                    self._faults[uuid] = error.errno or 0
                hint = f"; {self._hints[uuid]}" if uuid in self._hints else ""
                self._unwell(uuid, _why(mount, error) + hint)
        else:
            if self._watched.get(uuid) is mount:
                self._well(uuid, total, available)

    async def _mend(self, mount: Mount) -> None:
        uuid = mount.storage_uuid
        async with self.locks[uuid]:
            fault = self._faults.get(uuid)
            if fault is None or self._watched.get(uuid) is not mount:
                return  # it was prepared, or released, meanwhile
            try:
                if fault == errno.ENOTCONN:
                    await client.discard(mount.path)
                elif await asyncio.to_thread(client.mounted_at, mount.path):
                    await client.unmount(mount.path)
                await asyncio.to_thread(mount.path.mkdir, mode=0o755, parents=True, exist_ok=True)
                await client.mount(mount.url, mount.options, mount.path, seconds=AGAIN_SECONDS)
            except (TaskError, OSError) as error:
                self._hints[uuid] = error.message if isinstance(error, TaskError) else str(error)
            else:
                log.warning("storage %s: %s was mounted at %s anew", uuid, mount.url, mount.path)


def silent(mount: Mount) -> str:
    return f"{mount.path} does not answer; is {mount.url.partition(':')[0] or 'what it lies on'} there?"


def _why(mount: Mount, error: OSError) -> str:
    if error.errno == errno.ENOTCONN:
        return f"the process that had mounted {mount.url or 'something'} at {mount.path} has ended"
    if error.filename is None and error.strerror:
        return error.strerror
    return f"{mount.path} cannot be used: {error.strerror or error}"
