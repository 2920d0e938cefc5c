"""Images that were found on an image store: the cloud knows them from then on (BS-26, IMG-13)."""

from __future__ import annotations

import msgspec

from zcloud.domain.storage.backup_storage import BackupStorageCapacity
from zcloud.domain.storage.image import BootMode, Format, Image, ImageFacts, ImageStatus, MediaType, Platform
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.kernel.errors import Refused
from zcloud.kernel.ids import is_derived
from zcloud.kernel.unit import Unit


class FoundImage(msgspec.Struct, frozen=True):
    """As the store tells of it; what it does not know is empty."""

    uuid: str
    name: str
    description: str
    format: str
    platform: str
    media_type: str
    boot_mode: str
    size: int
    actual_size: int
    sha256: str
    install_path: str


async def take_in(unit: Unit, storage: ImageStoreBackupStorage, found: FoundImage) -> None:
    """A new image of the storage's owner, or one more copy of one that is known and is the same file."""
    image = await unit.find(Image, found.uuid)
    if image is None and is_derived(found.uuid):
        return  # a store may say what it likes, and must not be where the cloud will look for something of its own
    if image is None:
        try:
            image = await unit.new(Image, found.uuid, account_uuid=storage.account_uuid)
        except Refused:
            return  # the uuid is that of something else here
        _create(image, found)
        facts = await unit.companion(ImageFacts, image)
        facts.ready(
            storage.uuid,
            install_path=found.install_path,
            size=found.size,
            actual_size=found.actual_size,
            sha256=found.sha256,
        )
    else:
        facts = await unit.companion(ImageFacts, image)
        known = facts.status is ImageStatus.READY and facts.copy_on(storage.uuid) is None
        if not known or facts.sha256 != found.sha256:
            return
        facts.add_copy(storage.uuid, found.install_path)
    (await unit.companion(BackupStorageCapacity, storage)).store(image.uuid, found.actual_size)


def _create(image: Image, found: FoundImage) -> None:
    format = Format(found.format.capitalize())
    other = MediaType.ISO if format is Format.ISO else MediaType.ROOT_VOLUME_TEMPLATE
    image.trigger(
        image.Created(
            name=found.name or f"image {found.uuid}",
            description=found.description,
            account_uuid=image.account_uuid,
            url=f"zstore://{found.uuid}",
            format=format,
            platform=Platform(found.platform or "Linux"),
            media_type=MediaType(found.media_type) if found.media_type else other,
            boot_mode=BootMode(found.boot_mode or "Legacy"),
        )
    )
