"""CD drives of a VM as its hypervisor is told of them (VM-06)."""

from __future__ import annotations

from zcloud.domain.compute.isos import drives
from zcloud.domain.compute.machine import Machine
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.unit import Unit
from zcloud.processes.storage import image_cache
from zcloud.v1.vm_instance_task_pb2 import VmCdDrive


async def cd_drives(unit: Unit, it: Machine) -> list[VmCdDrive]:
    """Each drive, and the file that lies in it."""
    storage = await unit.find(PrimaryStorage, it.disk.primary_storage_uuid)
    found = []
    for drive in (await drives(unit, it.vm)).cd_roms:
        iso = await unit.last(Image, drive.iso_uuid) if drive.iso_uuid else None
        path = image_cache.cache_path(storage, iso) if iso is not None and storage is not None else ""
        found.append(VmCdDrive(device_id=drive.device_id, path=path))
    return found
