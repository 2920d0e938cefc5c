"""The storage tasks of a host."""

from __future__ import annotations

from typing import Any

from agents.runtime.task import Handler
from agents.storage.data_volumes import CreateDataVolume, ReadVolume
from agents.storage.export_volume import ExportVolume
from agents.storage.image_cache import CacheImage, CacheLocks, DeleteCachedImage
from agents.storage.local_storage import PrepareLocalStorage, PrepareSharedMountPoint
from agents.storage.nfs_storage import PrepareNfsStorage
from agents.storage.release import ReleasePrimaryStorage, WatchStorageNetwork
from agents.storage.snapshot_files import DeleteVolumeFiles, RevertVolumes
from agents.storage.volumes import CreateRootVolume, DeleteVolume
from agents.storage.watched import StorageWatch


def host_handlers(watched: StorageWatch | None = None) -> list[Handler[Any, Any]]:
    """New handlers for one agent; those of the image cache share its locks. watched: what it tells of by itself."""
    locks, watched = CacheLocks(), watched or StorageWatch()
    return [
        PrepareLocalStorage(),
        PrepareSharedMountPoint(watched),
        PrepareNfsStorage(watched),
        WatchStorageNetwork(watched),
        ReleasePrimaryStorage(watched),
        CacheImage(locks),
        DeleteCachedImage(locks),
        CreateRootVolume(),
        CreateDataVolume(),
        DeleteVolume(),
        ReadVolume(),
        ExportVolume(),
        RevertVolumes(),
        DeleteVolumeFiles(),
    ]
