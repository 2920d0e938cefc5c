"""NFS primary storage: an export that the host mounts, where it is not mounted yet (PS-07)."""

from __future__ import annotations

import asyncio

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.local_storage import look_at
from agents.storage.mounts import Mount
from agents.storage.network import over
from agents.storage.nfs import client
from agents.storage.paths import checked_path
from agents.storage.watched import StorageWatch
from zcloud.v1.primary_storage_task_pb2 import PrepareNfsStorageResult, PrepareNfsStorageTask


class PrepareNfsStorage(
    Handler[PrepareNfsStorageTask, PrepareNfsStorageResult], task=PrepareNfsStorageTask, result=PrepareNfsStorageResult
):
    """What is mounted there already is looked at, and left alone if it is something else."""

    def __init__(self, watched: StorageWatch) -> None:
        self._watched = watched

    async def run(self, args: PrepareNfsStorageTask, work: Work) -> PrepareNfsStorageResult:
        work.check()
        url = await over(args.url, args.network)
        path = checked_path("the directory of the primary storage", args.directory)
        if args.url.startswith("-") or ":/" not in args.url or args.mount_options.startswith("-"):
            raise TaskError("INVALID", f"{args.url[:200]!r} is no export, or its mount options are none")
        mount = Mount(args.primary_storage_uuid, path, url, args.mount_options)
        async with self._watched.mounts.locks[args.primary_storage_uuid]:
            await self._watched.mounts.must_answer(mount)
            there = await asyncio.to_thread(client.mounted_at, path)
            if there not in ("", args.url, url):
                raise TaskError("INVALID", f"{there} is mounted at {path}, not {args.url}; unmount it first")
            if not there:
                await asyncio.to_thread(path.mkdir, mode=0o755, parents=True, exist_ok=True)
                await client.mount(url, args.mount_options, path)
            total, available = await asyncio.to_thread(look_at, path, args.primary_storage_uuid, first=args.first)
            self._watched.mounts.watch(mount, total, available)
        server = args.url.partition(":")[0]
        seen = await self._watched.networks.watch(args.primary_storage_uuid, args.network, server)
        return PrepareNfsStorageResult(total_capacity=total, available_capacity=available, network=seen)
