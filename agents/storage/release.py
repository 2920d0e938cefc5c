"""A host and a storage part: nothing is looked at any more, and what the host has mounted goes (PS-07, PS-08)."""

from __future__ import annotations

from agents.runtime.task import Handler, TaskError, Work
from agents.storage.mounts import Mount
from agents.storage.paths import checked_path
from agents.storage.watched import StorageWatch
from zcloud.v1.primary_storage_task_pb2 import (
    ReleasePrimaryStorageResult,
    ReleasePrimaryStorageTask,
    WatchStorageNetworkResult,
    WatchStorageNetworkTask,
)


class ReleasePrimaryStorage(
    Handler[ReleasePrimaryStorageTask, ReleasePrimaryStorageResult],
    task=ReleasePrimaryStorageTask,
    result=ReleasePrimaryStorageResult,
):
    """REFUSED while somebody has a file open there. What is not mounted is released already."""

    def __init__(self, watched: StorageWatch) -> None:
        self._watched = watched

    async def run(self, args: ReleasePrimaryStorageTask, work: Work) -> ReleasePrimaryStorageResult:
        work.check()
        uuid = args.primary_storage_uuid
        if args.directory:
            path = checked_path("the directory of the primary storage", args.directory)
            if path.name != uuid:
                raise TaskError("INVALID", f"{path} is not where an export is mounted for storage {uuid[:64]!r}")
            await self._watched.mounts.unmount(Mount(uuid, path, path.name))
        self._watched.forget(uuid)
        return ReleasePrimaryStorageResult()


class WatchStorageNetwork(
    Handler[WatchStorageNetworkTask, WatchStorageNetworkResult],
    task=WatchStorageNetworkTask,
    result=WatchStorageNetworkResult,
):
    """From now on these are asked; nobody need connect anew for it."""

    def __init__(self, watched: StorageWatch) -> None:
        self._watched = watched

    async def run(self, args: WatchStorageNetworkTask, work: Work) -> WatchStorageNetworkResult:
        work.check()
        seen = await self._watched.networks.watch(args.primary_storage_uuid, args.network, args.server)
        return WatchStorageNetworkResult(network=seen)
