"""Local storage, image cache and volumes of a simulated host."""

from __future__ import annotations

from agents.runtime.task import TaskError
from agents.simulator.simulated import Simulated
from agents.simulator.world import THIN_BYTES, Volume, World
from zcloud.v1.image_task_pb2 import (
    CacheImageResult,
    CacheImageTask,
    DeleteCachedImageResult,
    DeleteCachedImageTask,
)
from zcloud.v1.primary_storage_task_pb2 import (
    PrepareLocalStorageResult,
    PrepareLocalStorageTask,
    PrepareNfsStorageResult,
    PrepareNfsStorageTask,
    PrepareSharedMountPointResult,
    PrepareSharedMountPointTask,
    ReleasePrimaryStorageResult,
    ReleasePrimaryStorageTask,
    StorageNetwork,
    WatchStorageNetworkResult,
    WatchStorageNetworkTask,
)
from zcloud.v1.volume_task_pb2 import (
    CreateRootVolumeResult,
    CreateRootVolumeTask,
    DeleteVolumeResult,
    DeleteVolumeTask,
)

Preparing = PrepareSharedMountPointTask | PrepareNfsStorageTask
Prepared = PrepareSharedMountPointResult | PrepareNfsStorageResult


class PrepareLocalStorage(
    Simulated[PrepareLocalStorageTask, PrepareLocalStorageResult],
    task=PrepareLocalStorageTask,
    result=PrepareLocalStorageResult,
):
    def apply(self, args: PrepareLocalStorageTask) -> PrepareLocalStorageResult:
        if not args.url.startswith("/"):
            raise TaskError("INVALID", f"{args.url!r} is no absolute path")
        self.world.storages.add(args.url)
        return PrepareLocalStorageResult(
            total_capacity=self.world.disk_size, available_capacity=max(0, self.world.disk_available)
        )


class PrepareSharedMountPoint(
    Simulated[PrepareSharedMountPointTask, PrepareSharedMountPointResult],
    task=PrepareSharedMountPointTask,
    result=PrepareSharedMountPointResult,
):
    def apply(self, args: PrepareSharedMountPointTask) -> PrepareSharedMountPointResult:
        result = PrepareSharedMountPointResult()
        _look(self.world, args, args.url, result)
        return result


class PrepareNfsStorage(
    Simulated[PrepareNfsStorageTask, PrepareNfsStorageResult],
    task=PrepareNfsStorageTask,
    result=PrepareNfsStorageResult,
):
    def apply(self, args: PrepareNfsStorageTask) -> PrepareNfsStorageResult:
        result = PrepareNfsStorageResult()
        try:
            self._mount(args)
        except TaskError as error:
            _passed_over(self.world, args, args.directory, error, result)
        else:
            _look(self.world, args, args.directory, result)
        return result

    def _mount(self, args: PrepareNfsStorageTask) -> None:
        if args.directory not in self.world.mounts:
            if args.url not in self.world.exports:
                raise TaskError("FAILED", f"{args.url} cannot be mounted at {args.directory}: no such export")
            self.world.mounts[args.directory] = self.world.exports[args.url]


class WatchStorageNetwork(
    Simulated[WatchStorageNetworkTask, WatchStorageNetworkResult],
    task=WatchStorageNetworkTask,
    result=WatchStorageNetworkResult,
):
    def apply(self, args: WatchStorageNetworkTask) -> WatchStorageNetworkResult:
        self.world.storage_networks[args.primary_storage_uuid] = args.network
        return WatchStorageNetworkResult(network=self.world.storage_network(args.primary_storage_uuid))


class ReleasePrimaryStorage(
    Simulated[ReleasePrimaryStorageTask, ReleasePrimaryStorageResult],
    task=ReleasePrimaryStorageTask,
    result=ReleasePrimaryStorageResult,
):
    def apply(self, args: ReleasePrimaryStorageTask) -> ReleasePrimaryStorageResult:
        uuid, path = args.primary_storage_uuid, args.directory
        users = [vm for vm, there in self.world.vms.items() if any(d.path.startswith(path) for d in there.spec.disks)]
        if path and users:
            raise TaskError("REFUSED", f"{path} cannot be unmounted: it is in use by VM {users[0]}")
        if path:
            self.world.mounts.pop(path, None)
        for book in (self.world.storage_networks, self.world.storage_mounts, self.world.mount_errors):
            book.pop(uuid, None)
        return ReleasePrimaryStorageResult()


def _look(world: World, args: Preparing, path: str, result: Prepared) -> None:
    try:
        found = look_at(world, path, args.primary_storage_uuid, args.first)
    except TaskError as error:
        _passed_over(world, args, path, error, result)
        return
    _watch(world, args.primary_storage_uuid, path, args.network)
    result.total_capacity, result.available_capacity = found["total_capacity"], found["available_capacity"]
    result.network.CopyFrom(world.storage_network(args.primary_storage_uuid))


def _passed_over(world: World, args: Preparing, path: str, error: TaskError, result: Prepared) -> None:
    """A host that connects does without it, and looks at it from now on, unless no host has ever had it."""
    if not args.connecting:
        raise error
    result.error = error.message
    if not args.first:
        _watch(world, args.primary_storage_uuid, path, args.network)
        world.mount_errors[args.primary_storage_uuid] = error.message


def _watch(world: World, storage_uuid: str, path: str, network: StorageNetwork) -> None:
    world.storage_networks[storage_uuid] = network
    world.storage_mounts[storage_uuid] = path
    world.mount_errors.pop(storage_uuid, None)


def look_at(world: World, path: str, storage_uuid: str, first: bool) -> dict[str, int]:
    """What a shared directory has, once it is known to be the one that other hosts see."""
    directory = world.mounts.get(path)
    if directory is None:
        raise TaskError("NOT_FOUND", f"there is no directory {path}; mount the shared file system there")
    if first:
        directory.marks.add(storage_uuid)
    if storage_uuid not in directory.marks:
        raise TaskError("INVALID", f"{path} is not the file system that other hosts have there")
    return {"total_capacity": directory.size, "available_capacity": directory.available}


class CacheImage(Simulated[CacheImageTask, CacheImageResult], task=CacheImageTask, result=CacheImageResult):
    """Believes the backup storage: nothing is read from it."""

    def apply(self, args: CacheImageTask) -> CacheImageResult:
        if args.cache_path not in self.world.cache:
            self.world.need_disk(args.actual_size, f"image {args.cache_path}")
            self.world.cache[args.cache_path] = args.actual_size
        on_share = bool(args.shared_path) and args.shared_path in self.world.shared_files
        return CacheImageResult(actual_size=self.world.cache[args.cache_path], on_share=on_share)


class DeleteCachedImage(
    Simulated[DeleteCachedImageTask, DeleteCachedImageResult],
    task=DeleteCachedImageTask,
    result=DeleteCachedImageResult,
):
    def apply(self, args: DeleteCachedImageTask) -> DeleteCachedImageResult:
        users = [path for path, volume in self.world.volumes.items() if volume.backing_path == args.cache_path]
        users += [u for u, vm in self.world.vms.items() if args.cache_path in [d.path for d in vm.spec.cd_drives]]
        if users:
            raise TaskError("REFUSED", f"image {args.cache_path} is in use by {users[0]}")
        self.world.cache.pop(args.cache_path, None)
        return DeleteCachedImageResult()


class CreateRootVolume(
    Simulated[CreateRootVolumeTask, CreateRootVolumeResult],
    task=CreateRootVolumeTask,
    result=CreateRootVolumeResult,
):
    def apply(self, args: CreateRootVolumeTask) -> CreateRootVolumeResult:
        there = self.world.volumes.get(args.path)
        wanted = Volume(args.volume_uuid, args.backing_path, args.size)
        if there is not None and there != wanted:
            raise TaskError("REFUSED", f"{args.path} is there already, and is volume {there.uuid} or of another image")
        if args.backing_path not in self.world.cache:
            raise TaskError("NOT_FOUND", f"image {args.backing_path} is not in the cache of this host")
        if there is None:
            self.world.need_disk(THIN_BYTES, f"volume {args.path}")
            self.world.volumes[args.path] = wanted
        return CreateRootVolumeResult(actual_size=THIN_BYTES)


class DeleteVolume(Simulated[DeleteVolumeTask, DeleteVolumeResult], task=DeleteVolumeTask, result=DeleteVolumeResult):
    def apply(self, args: DeleteVolumeTask) -> DeleteVolumeResult:
        users = self.world.users_of_path(args.path)
        if users:
            raise TaskError("REFUSED", f"volume {args.path} is in use by VM {users[0]}")
        for path in (args.path, *args.more_paths):
            self.world.volumes.pop(path, None)
        return DeleteVolumeResult()


HANDLERS = (
    PrepareLocalStorage,
    PrepareSharedMountPoint,
    PrepareNfsStorage,
    WatchStorageNetwork,
    ReleasePrimaryStorage,
    CacheImage,
    DeleteCachedImage,
    CreateRootVolume,
    DeleteVolume,
)
