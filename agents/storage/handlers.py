"""The storage tasks of a host."""

from __future__ import annotations

from typing import Any

from agents.runtime.task import Handler
from agents.storage.data_volumes import CreateDataVolume, ReadVolume
from agents.storage.export_volume import ExportVolume
from agents.storage.image_cache import CacheImage, CacheLocks, DeleteCachedImage
from agents.storage.local_storage import PrepareLocalStorage, PrepareSharedMountPoint
from agents.storage.network import StorageNetworks
from agents.storage.nfs_storage import PrepareNfsStorage
from agents.storage.snapshot_files import DeleteVolumeFiles, RevertVolumes
from agents.storage.volumes import CreateRootVolume, DeleteVolume


def host_handlers(networks: StorageNetworks | None = None) -> list[Handler[Any, Any]]:
    """New handlers for one agent; those of the image cache share its locks. networks: what it tells of by itself."""
    locks, networks = CacheLocks(), networks or StorageNetworks()
    return [
        PrepareLocalStorage(),
        PrepareSharedMountPoint(networks),
        PrepareNfsStorage(networks),
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
