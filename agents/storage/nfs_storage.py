"""NFS primary storage: an export that the host mounts, where it is not mounted yet (PS-07)."""

from __future__ import annotations

import asyncio

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.local_storage import looked_at
from agents.storage.mounts import AGAIN_SECONDS, Mount, within
from agents.storage.network import over
from agents.storage.nfs import client
from agents.storage.paths import checked_path
from agents.storage.watched import StorageWatch
from zcloud.v1.primary_storage_task_pb2 import PrepareNfsStorageResult, PrepareNfsStorageTask


class PrepareNfsStorage(
    Handler[PrepareNfsStorageTask, PrepareNfsStorageResult], task=PrepareNfsStorageTask, result=PrepareNfsStorageResult
):
    """What is mounted there already is looked at, and left alone if it is something else.

    A host that connects does not wait long for a server, nor fail for one that is silent.
    """

    def __init__(self, watched: StorageWatch) -> None:
        self._watched = watched

    async def run(self, args: PrepareNfsStorageTask, work: Work) -> PrepareNfsStorageResult:
        work.check()
        url = await over(args.url, args.network)
        path = checked_path("the directory of the primary storage", args.directory)
        if args.url.startswith("-") or ":/" not in args.url or args.mount_options.startswith("-"):
            raise TaskError("INVALID", f"{args.url[:200]!r} is no export, or its mount options are none")
        mount = Mount(args.primary_storage_uuid, path, url, args.mount_options)
        result = PrepareNfsStorageResult()
        try:
            async with within(mount):
                result.total_capacity, result.available_capacity = await self._prepare(args, mount)
        except TaskError as error:
            result.error = self._watched.mounts.passed_over(mount, args, error)
        server = args.url.partition(":")[0]
        seen = await self._watched.networks.watch(args.primary_storage_uuid, args.network, server)
        result.network.CopyFrom(seen)
        return result

    async def _prepare(self, args: PrepareNfsStorageTask, mount: Mount) -> tuple[int, int]:
        mounts, path = self._watched.mounts, mount.path
        async with mounts.locks[args.primary_storage_uuid]:
            await mounts.must_answer(mount)
            there = await asyncio.to_thread(client.mounted_at, path)
            if there not in ("", args.url, mount.url):
                raise TaskError("INVALID", f"{there} is mounted at {path}, not {args.url}; unmount it first")
            if not there:
                await asyncio.to_thread(path.mkdir, mode=0o755, parents=True, exist_ok=True)
                seconds = AGAIN_SECONDS if args.connecting else client.MOUNT_SECONDS
                await client.mount(mount.url, args.mount_options, path, seconds=seconds)
            found = await looked_at(mount, first=args.first)
            mounts.watch(mount, *found)
            return found
