"""Images of what volumes and snapshots hold: templates for VMs and data volumes, and backups of VMs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zcloud.api import access
from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.compute.data_volumes import is_root, vm_of
from zcloud.domain.compute.vm_backups import DAILY, begin_backup, not_due
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity, BackupStorageLeftovers
from zcloud.domain.storage.image import BootMode, Image, ImageFacts, MediaType, Platform
from zcloud.domain.storage.image_copies import choose, must_have_room
from zcloud.domain.storage.image_room import held_by
from zcloud.domain.storage.snapshots import Chained, chained, facts_of, must_be_whole
from zcloud.domain.storage.storage_matrix import must_match
from zcloud.domain.storage.volume_room import where
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.domain.storage.volume_snapshot_copies import SCHEME
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.storage.add_image import install_path


@dataclass(frozen=True)
class Source:
    """What an image is made of. url: as the image shows it. snapshot: one that is there already."""

    it: Chained
    url: str
    snapshot: VolumeSnapshot | None = None


async def _volume(call: Call, unit: Unit, uuid: str) -> Source:
    """A volume that is there, of the caller's."""
    it = await chained(unit, uuid)
    access.must_own(call.actor, it.volume, "volume")
    vm = await vm_of(unit, it.volume)
    if vm is not None:
        vm.status.must_allow("take an image of", ALLOWED["snapshot"])
    await must_be_whole(unit, it)
    return Source(it, f"volume://{uuid}")


async def _snapshot(call: Call, unit: Unit, uuid: str) -> Source:
    """A snapshot that may be used, of the caller's."""
    snapshot = await unit.usable(VolumeSnapshot, uuid)
    access.must_own(call.actor, snapshot, "volume_snapshot")
    snapshot.must_be_enabled()
    (await facts_of(unit, uuid)).must_be_ready(snapshot, "copied")
    return Source(await chained(unit, snapshot.volume_uuid), f"{SCHEME}{uuid}", snapshot)


def _must_be_root(it: Chained, rpc: str) -> None:
    if not is_root(it.volume):
        text = f'volume "{it.volume.name}" is a data volume; {rpc} is for these'
        raise precondition(Reason.NOT_SUPPORTED, text, volume_uuid=it.volume.uuid)


async def _make(unit: Unit, request: Any, source: Source, media: MediaType, **more: Any) -> Image:
    """The image, and the job that brings its bits."""
    it, rotation = source.it, more.pop("rotation", 0)
    made_from = await unit.last(Image, it.volume.image_uuid) if it.volume.image_uuid else None
    if made_from is not None:
        more = {"platform": made_from.platform, "boot_mode": made_from.boot_mode, **more}
    image = await unit.new(Image, request.resource_uuid)
    image.create_from(
        name=request.name,
        description=request.description,
        url=source.url,
        volume_uuid=it.volume.uuid,
        media_type=media,
        **more,
    )
    snapshot = source.snapshot
    if snapshot is None:
        snapshot = await unit.new(VolumeSnapshot, account_uuid=it.volume.account_uuid)
        snapshot.create(
            name=f"for image {request.name}",
            description="Goes by itself when the image is made.",
            volume_uuid=it.volume.uuid,
            volume_type=it.volume.type,
            zone_uuid=it.volume.zone_uuid,
            vm_instance_uuid=it.volume.vm_instance_uuid,
        )
    storage = await _storage(unit, request, it, await held_by(unit, it, snapshot.uuid))
    (await unit.companion(ImageFacts, image)).downloading(storage.uuid)
    (await unit.companion(BackupStorageCapacity, storage)).expect(image.uuid)
    (await unit.companion(BackupStorageLeftovers, storage)).clear(install_path(storage, image))
    args = {
        "backup_storage_uuid": storage.uuid,
        "volume_uuid": it.volume.uuid,
        "snapshot_uuid": snapshot.uuid,
        "temporary": source.snapshot is None,
        "rotation": rotation,
    }
    await submit(unit, "create_image", image, args)
    return image


async def _storage(unit: Unit, request: Any, it: Chained, size: int) -> BackupStorage:
    """The one that is named, else that with the most room (BS-31), of a kind that goes with the volume's (PS-15)."""
    found = await where(unit, it.disk)
    source = found[0] if found is not None else None
    if not request.backup_storage_uuid:
        return await choose(unit, await unit.port("views").where("backup_storage"), size, source)
    storage = await unit.usable(BackupStorage, request.backup_storage_uuid)
    if source is not None:
        must_match(source, storage)
    await must_have_room(unit, storage, size)
    return storage


def _system(call: Call, request: Any) -> dict[str, Any]:
    """What the caller says of the guest."""
    given = arguments(call, request)
    found: dict[str, Any] = {}
    if given.get("platform"):
        found["platform"] = Platform(given["platform"])
    if given.get("boot_mode"):
        found["boot_mode"] = BootMode(given["boot_mode"])
    return found


@command("CreateRootVolumeTemplateFromRootVolume")
async def from_root_volume(call: Call, unit: Unit, request: Any) -> Image:
    """Of a VM that runs as well, on every kind of backup storage."""
    source = await _volume(call, unit, request.root_volume_uuid)
    _must_be_root(source.it, "CreateDataVolumeTemplateFromVolume")
    return await _make(unit, request, source, MediaType.ROOT_VOLUME_TEMPLATE, **_system(call, request))


@command("CreateRootVolumeTemplateFromVolumeSnapshot")
async def from_root_snapshot(call: Call, unit: Unit, request: Any) -> Image:
    """What the root volume held then."""
    source = await _snapshot(call, unit, request.volume_snapshot_uuid)
    _must_be_root(source.it, "CreateDataVolumeTemplateFromVolumeSnapshot")
    return await _make(unit, request, source, MediaType.ROOT_VOLUME_TEMPLATE, **_system(call, request))


@command("CreateDataVolumeTemplateFromVolume")
async def from_volume(call: Call, unit: Unit, request: Any) -> Image:
    """Of any volume."""
    source = await _volume(call, unit, request.volume_uuid)
    return await _make(unit, request, source, MediaType.DATA_VOLUME_TEMPLATE)


@command("CreateDataVolumeTemplateFromVolumeSnapshot")
async def from_snapshot(call: Call, unit: Unit, request: Any) -> Image:
    """What the volume held then."""
    source = await _snapshot(call, unit, request.volume_snapshot_uuid)
    return await _make(unit, request, source, MediaType.DATA_VOLUME_TEMPLATE)


@command("CreateBackupImageFromVmInstance")
async def backup(call: Call, unit: Unit, request: Any) -> Image:
    """One more backup, or with if_due the newest while it is young enough. Deleting them all ends no schedule."""
    vm = await unit.usable(VmInstance, request.vm_instance_uuid)
    access.must_own(call.actor, vm, "vm_instance")
    kind = request.backup_type or DAILY
    young = await not_due(unit, vm, kind, request.period) if request.if_due else None
    if young is not None:
        return young
    source = await _volume(call, unit, vm.root_volume_uuid)
    image = await _make(
        unit,
        request,
        source,
        MediaType.ROOT_VOLUME_TEMPLATE,
        platform=Platform(vm.platform),
        boot_mode=BootMode(vm.boot_mode),
        backup_type=kind,
        vm_instance_uuid=vm.uuid,
        rotation=request.rotation,
    )
    await begin_backup(unit, vm, image)
    return image
