"""Where images are kept, and where the next one goes: decisions over images and backup storages (BS-31, IMG-10)."""

from __future__ import annotations

from zcloud.domain.operations.global_config import setting_bytes
from zcloud.domain.storage.backup_storage import (
    BackupStorage,
    BackupStorageCapacity,
    BackupStorageStatus,
    must_move_bits,
    unusable,
)
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus, must_be_usable
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.storage_matrix import mismatch
from zcloud.kernel.errors import Code, Reason, Refused, precondition
from zcloud.kernel.unit import Unit


async def usable_copy(
    unit: Unit, image: Image, zone_uuid: str, target: PrimaryStorage | None = None
) -> tuple[BackupStorage, str]:
    """A backup storage of the zone that can give the image now, and the file's path there.

    target: the primary storage that it is to come to, which is of a kind that goes with the backup storage's (PS-15).

    The image is Enabled and Ready. An image whose copies all lie on storages that are disabled, unreachable or of
    other zones cannot be used, unless it is cached (IMG-10). Raises FAILED_PRECONDITION.
    """
    facts = await unit.companion(ImageFacts, image)
    must_be_usable(image, facts)
    whys = []
    for copy in facts.copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is None or copy.status is not ImageStatus.READY:
            continue
        why = unusable(storage, await unit.companion(BackupStorageStatus, storage))
        if not why and zone_uuid not in storage.attached_zone_uuids:
            why = f'backup storage "{storage.name}" is not attached to zone {zone_uuid}'
        if not why and target is not None:
            why = mismatch(target, storage)
        if not why:
            return storage, copy.install_path
        whys.append(why)
    text = f'image "{image.name}" cannot be fetched: {"; ".join(whys) or "it has no copy"}'
    raise precondition(Reason.WRONG_STATUS, text, image_uuid=image.uuid)


async def copy_source(unit: Unit, image: Image, target: BackupStorage, only: str = "") -> tuple[BackupStorage, str]:
    """Another storage that can give the image to this one now, and the path there. Raises FAILED_PRECONDITION.

    only: the uuid of the one that it must be.
    """
    must_move_bits(target, await unit.companion(BackupStorageStatus, target))
    whys = []
    for copy in (await unit.companion(ImageFacts, image)).copies:
        storage = await unit.find(BackupStorage, copy.backup_storage_uuid)
        if storage is None or storage.uuid == target.uuid or copy.status is not ImageStatus.READY:
            continue
        if only not in ("", storage.uuid):
            continue
        why = unusable(storage, await unit.companion(BackupStorageStatus, storage))
        if not why:
            return storage, copy.install_path
        whys.append(why)
    text = f'image "{image.name}" cannot be copied: {"; ".join(whys) or "no other backup storage has it"}'
    raise precondition(Reason.WRONG_STATUS, text, image_uuid=image.uuid)


async def room_on(unit: Unit, storage: BackupStorage) -> int:
    """Bytes that the next image may have there."""
    reserved = await setting_bytes(unit, "backupStorage", "reservedCapacity", storage)
    return (await unit.companion(BackupStorageCapacity, storage)).room(reserved, storage.quota)


async def must_have_room(unit: Unit, storage: BackupStorage, size: int = 1) -> None:
    """The storage can take one more image, of so many bytes. Raises FAILED_PRECONDITION or RESOURCE_EXHAUSTED."""
    must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))
    room = await room_on(unit, storage)
    if room < size:
        text = (
            f'backup storage "{storage.name}" has room for {room} bytes beside backupStorage/reservedCapacity, '
            f"{size} are needed"
        )
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text, backup_storage_uuid=storage.uuid)


async def _barred(unit: Unit, storage: BackupStorage, source: PrimaryStorage | None) -> str:
    """Why nothing can come there now, however small; empty when something can."""
    why = unusable(storage, await unit.companion(BackupStorageStatus, storage))
    return why or (mismatch(source, storage) if source is not None else "")


async def verdicts(
    unit: Unit, storages: list[str], size: int, source: PrimaryStorage | None
) -> list[tuple[BackupStorage, int, str]]:
    """Each storage, the room on it, and why it cannot take so many bytes; the best first (BS-31).

    source: the primary storage that they come from; not every kind goes with every other (PS-15).
    """
    found = []
    for uuid in storages:
        storage = await unit.find(BackupStorage, uuid)
        if storage is None or storage.deleting_job:
            continue
        why = await _barred(unit, storage, source)
        room = await room_on(unit, storage)
        if not why and room < size:
            why = f'backup storage "{storage.name}" is full: it has room for {room} bytes, {size} are needed'
        found.append((storage, room, why))
    return sorted(found, key=lambda one: (bool(one[2]), -one[1]))


async def choose(unit: Unit, storages: list[str], size: int = 1, source: PrimaryStorage | None = None) -> BackupStorage:
    """The one with the most room among those that can take so many bytes.

    Raises RESOURCE_EXHAUSTED where room is what one of them lacks, FAILED_PRECONDITION where none may take anything.
    """
    found = await verdicts(unit, storages, size, source)
    if not found or found[0][2]:
        whys = "; ".join(why for _, _, why in found[:10])
        text = f"no backup storage can take an image: {whys or 'there is none; add one first'}"
        full = [storage for storage, _, _ in found if not await _barred(unit, storage, source)]
        code = Code.RESOURCE_EXHAUSTED if full else Code.FAILED_PRECONDITION
        raise Refused(code, Reason.NO_STORAGE_AVAILABLE, text)
    return found[0][0]


async def drop_copy(unit: Unit, image: Image, storage: BackupStorage, *, keep: bool = False) -> None:
    """A copy is gone: its room is free again, and an image without any copy is no more (BS-16) unless it is kept.

    One whose other copies lie in the recycle bin lies there from now on.
    """
    (await unit.companion(BackupStorageCapacity, storage)).free(image.uuid)
    facts = await unit.companion(ImageFacts, image)
    facts.remove_copy(storage.uuid)
    if not facts.copies:
        if not keep:
            image.remove()
    elif facts.status is ImageStatus.READY and all(copy.status is ImageStatus.DELETED for copy in facts.copies):
        image.delete(facts)
