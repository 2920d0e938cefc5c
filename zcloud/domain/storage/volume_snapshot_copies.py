"""What was brought of a snapshot to backup storages, where it lies as an image (BS-02, BS-19)."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event
from zcloud.kernel.settle import follows
from zcloud.kernel.unit import Unit

SCHEME = "volumeSnapshot://"


class VolumeSnapshotCopy(msgspec.Struct, frozen=True):
    """One of them."""

    backup_storage_uuid: str
    image_uuid: str


class VolumeSnapshotCopies(Companion, of="volume_snapshot", role="copies"):
    """Follows its images, in the append that brings or removes a copy of one."""

    copies: tuple[VolumeSnapshotCopy, ...] = ()

    class Made(Event):
        """A backup storage has it."""

        backup_storage_uuid: str
        image_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.copies = (*aggregate.copies, VolumeSnapshotCopy(self.backup_storage_uuid, self.image_uuid))

    class Gone(Event):
        """It does not have it any more."""

        backup_storage_uuid: str
        image_uuid: str

        def apply(self, aggregate: Any) -> None:
            gone = VolumeSnapshotCopy(self.backup_storage_uuid, self.image_uuid)
            aggregate.copies = tuple(copy for copy in aggregate.copies if copy != gone)

    def settle(self, image_uuid: str, storages: set[str]) -> None:
        """The image is on these now; the same again is no event."""
        known = {copy.backup_storage_uuid for copy in self.copies if copy.image_uuid == image_uuid}
        for uuid in sorted(storages - known):
            self.trigger(self.Made(backup_storage_uuid=uuid, image_uuid=image_uuid))
        for uuid in sorted(known - storages):
            self.trigger(self.Gone(backup_storage_uuid=uuid, image_uuid=image_uuid))


@follows
async def follow_images(unit: Unit) -> None:
    """An image in the recycle bin still lies where it lay."""
    changed = [found for _, found in unit.changed() if isinstance(found, ImageFacts)]
    for facts in changed:
        image = await unit.last(Image, facts.uuid)
        if image is None or not image.url.startswith(SCHEME):
            continue
        snapshot = await unit.find(VolumeSnapshot, image.url.removeprefix(SCHEME))
        if snapshot is not None:
            there = {
                c.backup_storage_uuid for c in facts.copies if c.status in (ImageStatus.READY, ImageStatus.DELETED)
            }
            (await unit.companion(VolumeSnapshotCopies, snapshot)).settle(image.uuid, there if image.exists else set())
