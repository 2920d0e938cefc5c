"""Calls on volumes: what the request says is checked here, what it means is decided when its job's turn comes."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.storage.disk_size import disk_size
from zcloud.domain.compute.data_volumes import is_root, must_be_idle, must_take, vm_of, worker
from zcloud.domain.compute.machine import machine
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.operations.global_config import setting
from zcloud.domain.storage.allocation import claim_cache, lies_in_cache
from zcloud.domain.storage.image import Image, ImageFacts, MediaType, must_be_usable
from zcloud.domain.storage.image_copies import usable_copy
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.snapshots import forget_volume
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.domain.storage.volume_room import choose_host, host_lacks, place_on
from zcloud.kernel.errors import Code, Reason, Refused, invalid, precondition
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


@command("CreateDataVolume")
async def create_data_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """A record, or a file where a storage is named (VOL-03)."""
    size = await disk_size(unit, request)
    if request.host_uuid and not request.primary_storage_uuid:
        raise invalid("host_uuid", request.host_uuid, "must be absent where no primary_storage_uuid is given")
    volume = await unit.new(Volume, request.resource_uuid)
    storage = None
    if request.primary_storage_uuid:
        storage = await unit.usable(PrimaryStorage, request.primary_storage_uuid)
    volume.create_data(
        name=request.name,
        description=request.description,
        size=size,
        zone_uuid=storage.zone_uuid if storage is not None else "",
        disk_offering_uuid=request.disk_offering_uuid,
    )
    (await unit.companion(VolumeStatus, volume)).created()
    if storage is not None:
        host = await _host(unit, storage, request.host_uuid, size)
        await place_on(unit, volume, storage, host)
        await submit(unit, "create_data_volume", volume)
    return volume


@command("CreateDataVolumeFromVolumeTemplate")
async def create_data_volume_from_template(call: Call, unit: Unit, request: Any) -> Volume:
    """As large as the image; it grows by ResizeDataVolume."""
    image = await unit.usable(Image, request.image_uuid)
    facts = await unit.companion(ImageFacts, image)
    must_be_usable(image, facts)
    if image.media_type is not MediaType.DATA_VOLUME_TEMPLATE:
        text = f'image "{image.name}" is a {image.media_type.value}; data volumes are made from a DataVolumeTemplate'
        raise precondition(Reason.NOT_SUPPORTED, text, image_uuid=image.uuid)
    storage = await unit.usable(PrimaryStorage, request.primary_storage_uuid)
    host = await _host(unit, storage, request.host_uuid, facts.size)
    if not await lies_in_cache(unit, storage, host, image):
        await usable_copy(unit, image, host.zone_uuid, storage)
    volume = await unit.new(Volume, request.resource_uuid)
    volume.create_data(
        name=request.name,
        description=request.description,
        size=facts.size,
        zone_uuid=storage.zone_uuid,
        image_uuid=image.uuid,
    )
    (await unit.companion(VolumeStatus, volume)).created()
    await place_on(unit, volume, storage, host)
    await claim_cache(unit, storage, host, image)
    await submit(unit, "create_data_volume_from_template", volume)
    return volume


async def _host(unit: Unit, storage: PrimaryStorage, host_uuid: str, size: int) -> Host:
    if not host_uuid:
        return await choose_host(unit, storage, size)
    host = await unit.usable(Host, host_uuid)
    lack = await host_lacks(unit, storage, host, size)
    if lack:
        text = f'host "{host.name}" cannot take a volume of {size} bytes: {lack}'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text)
    return host


@command("AttachDataVolumeToVm")
async def attach_data_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """When the VM's other jobs have ended."""
    volume = await unit.usable(Volume, request.volume_uuid)
    vm = await unit.usable(VmInstance, request.vm_instance_uuid)
    volume.must_be_data("attached")
    if volume.vm_instance_uuid:
        text = f'volume "{volume.name}" is attached to VM {volume.vm_instance_uuid} already'
        raise precondition(Reason.ALREADY_ATTACHED, text, vm_instance_uuid=volume.vm_instance_uuid)
    await must_take(unit, await machine(unit, vm.uuid), volume, await unit.companion(VolumeStatus, volume))
    await submit(unit, "attach_data_volume", vm, {"volume_uuid": volume.uuid})
    return volume


@command("DetachDataVolumeFromVm")
async def detach_data_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """A guest that runs has to let go of it."""
    volume = await unit.get(Volume, request.uuid)
    volume.must_be_data("detached")
    it = await vm_of(unit, volume)
    if it is None:
        raise precondition(Reason.NOT_ATTACHED, f'volume "{volume.name}" is attached to no VM')
    it.status.must_allow("detach a volume from", ALLOWED["attach_volume"])
    await submit(unit, "detach_data_volume", it.vm, {"volume_uuid": volume.uuid})
    return volume


@command("ResizeDataVolume")
async def resize_data_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """At once for a guest that runs (VM-10)."""
    volume = await unit.usable(Volume, request.uuid)
    volume.must_be_data("resized by this call; ResizeRootVolume is for the others")
    return await _resize(unit, volume, request.size)


@command("ResizeRootVolume")
async def resize_root_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """As a data volume."""
    volume = await unit.usable(Volume, request.uuid)
    if not is_root(volume):
        text = f'volume "{volume.name}" is a data volume; ResizeDataVolume is for these'
        raise precondition(Reason.NOT_SUPPORTED, text, volume_uuid=volume.uuid)
    return await _resize(unit, volume, request.size)


async def _resize(unit: Unit, volume: Volume, size: int) -> Volume:
    volume.must_grow_to(size)
    disk = await unit.companion(VolumeStatus, volume)
    disk.must_be(volume, "resized", VolumeState.READY, VolumeState.NOT_INSTANTIATED)
    if disk.status is VolumeState.NOT_INSTANTIATED:
        volume.resized(size)
    elif size != volume.size:
        await submit(unit, "resize_volume", await worker(unit, volume), {"volume_uuid": volume.uuid, "size": size})
    return volume


@command("DeleteDataVolume")
async def delete_data_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """Into the recycle bin; what was never made is gone at once (VOL-02)."""
    volume = await unit.usable(Volume, request.uuid)
    volume.must_be_free("deleted")
    disk = await unit.companion(VolumeStatus, volume)
    disk.must_be(volume, "deleted", VolumeState.READY, VolumeState.NOT_INSTANTIATED, VolumeState.CREATING)
    await must_be_idle(unit, volume)
    if disk.status is VolumeState.NOT_INSTANTIATED:
        await forget_volume(unit, volume)
        return volume
    disk.delete()
    if await setting(unit, "volume", "deletionPolicy", volume) == "Direct":
        await submit(unit, "expunge_volume", volume)
    return volume


@command("RecoverDataVolume")
async def recover_data_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """Out of the recycle bin."""
    volume = await unit.usable(Volume, request.uuid)
    volume.must_be_data("recovered by this call; a root volume comes back with its VM")
    disk = await unit.companion(VolumeStatus, volume)
    disk.must_be(volume, "recovered", VolumeState.DELETED)
    disk.recover()
    return volume


@command("ExpungeDataVolume")
async def expunge_data_volume(call: Call, unit: Unit, request: Any) -> Volume:
    """For ever."""
    volume = await unit.usable(Volume, request.uuid)
    volume.must_be_data("expunged by this call; a root volume goes with its VM")
    (await unit.companion(VolumeStatus, volume)).must_be(volume, "expunged", VolumeState.DELETED)
    await submit(unit, "expunge_volume", volume)
    return volume
