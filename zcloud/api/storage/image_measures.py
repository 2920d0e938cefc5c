"""What is asked of images where they lie: hashes, sizes, and where the next could lie."""

from __future__ import annotations

from typing import Any

from zcloud.api import access, rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.api.standard import arguments
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageStatus, must_move_bits, unusable
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.image_copies import verdicts
from zcloud.domain.storage.image_room import held_by
from zcloud.domain.storage.snapshots import chained
from zcloud.domain.storage.volume import Volume
from zcloud.domain.storage.volume_room import where
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.kernel.errors import Reason, invalid, not_found, precondition
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.v1.image_pb2 import GetCandidateBackupStorageForCreatingImageResponse


@command("CalculateImageHash")
async def calculate_image_hash(call: Call, unit: Unit, request: Any) -> Image:
    """SHA-256 unless MD5 is asked for."""
    image, storage = (
        await unit.usable(Image, request.uuid),
        await unit.usable(BackupStorage, request.backup_storage_uuid),
    )
    copy = (await unit.companion(ImageFacts, image)).copy_on(storage.uuid)
    if copy is None or copy.status is not ImageStatus.READY:
        text = f'backup storage "{storage.name}" has no image "{image.name}" that is Ready'
        raise precondition(Reason.WRONG_STATUS, text, backup_storage_uuid=storage.uuid)
    must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))
    algorithm = arguments(call, request).get("algorithm", "Sha256").lower()
    await submit(unit, "calculate_image_hash", image, {"backup_storage_uuid": storage.uuid, "algorithm": algorithm})
    return image


@command("SyncImageSize")
async def sync_image_size(call: Call, unit: Unit, request: Any) -> Image:
    """From the first storage that can be asked now."""
    image, whys = await unit.usable(Image, request.uuid), []
    for copy in (await unit.companion(ImageFacts, image)).copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is None or copy.status is not ImageStatus.READY:
            continue
        why = unusable(storage, await unit.companion(BackupStorageStatus, storage))
        if not why:
            await submit(unit, "sync_image_size", image, {"backup_storage_uuid": storage.uuid})
            return image
        whys.append(why)
    text = f'the size of image "{image.name}" cannot be asked for: {"; ".join(whys) or "no copy of it is Ready"}'
    raise precondition(Reason.WRONG_STATUS, text, image_uuid=image.uuid)


@query("GetCandidateBackupStorageForCreatingImage")
async def get_candidates(call: Call, request: Any) -> GetCandidateBackupStorageForCreatingImageResponse:
    """As it would be chosen now."""
    rules.check(request)
    unit = Unit(call.node.cloud, call.context, call.node.cloud.clock.now())
    if bool(request.volume_uuid) == bool(request.volume_snapshot_uuid):
        raise invalid("volume_uuid", request.volume_uuid, "either volume_uuid or volume_snapshot_uuid must be given")
    uuid = request.volume_uuid
    if request.volume_snapshot_uuid:
        snapshot = await unit.get(VolumeSnapshot, request.volume_snapshot_uuid)
        access.must_own(call.actor, snapshot, "volume_snapshot")
        uuid = snapshot.volume_uuid
    volume = await unit.find(Volume, uuid)
    if volume is None:
        raise not_found("volume", uuid)
    access.must_own(call.actor, volume, "volume")
    it = await chained(unit, uuid)
    lies = await where(unit, it.disk)
    source, size = lies[0] if lies is not None else None, await held_by(unit, it, request.volume_snapshot_uuid)
    response = GetCandidateBackupStorageForCreatingImageResponse()
    for storage, room, why in await verdicts(unit, await unit.port("views").where("backup_storage"), size, source):
        told = {"uuid": storage.uuid, "name": storage.name, "type": storage.type, "room": room, "reason": why}
        (response.refused if why else response.candidates).add(**told)
    return response
