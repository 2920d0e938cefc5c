"""Backups of a VM: the images that were made of it as such, in rows by their backup type, oldest first (SCH-08)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import invalid
from zcloud.kernel.event import Event
from zcloud.kernel.unit import Unit

DAILY = "daily"
PERIODS = {DAILY: 86_400, "weekly": 7 * 86_400}
# A schedule's next instant is as far from the last one as the period, and the image came a little later than that:
# without this a daily backup would be made every other day.
SLACK = 24


class VmBackups(Companion, of="vm_instance", role="backups"):
    """Who is no more, or lies in the recycle bin, is in the row until the next one is made."""

    backups: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - replaced by folds

    class Begun(Event):
        """One more is being made."""

        backup_type: str
        image_uuid: str

        def apply(self, aggregate: Any) -> None:
            row = aggregate.backups.get(self.backup_type, ())
            aggregate.backups = {**aggregate.backups, self.backup_type: (*row, self.image_uuid)}

    class Forgotten(Event):
        """These are no more."""

        backup_type: str
        image_uuids: tuple[str, ...]

        def apply(self, aggregate: Any) -> None:
            row = tuple(u for u in aggregate.backups.get(self.backup_type, ()) if u not in self.image_uuids)
            others = {name: images for name, images in aggregate.backups.items() if name != self.backup_type}
            aggregate.backups = {**others, self.backup_type: row} if row else others


async def row_of(unit: Unit, vm: VmInstance, backup_type: str) -> list[Image]:
    """The backups of this type that can be used or are being made, oldest first."""
    found = []
    for uuid in (await unit.companion(VmBackups, vm)).backups.get(backup_type, ()):
        image = await unit.find(Image, uuid)
        if image is not None and not image.deleted and not image.deleting_job:
            found.append(image)
    return found


def period_of(backup_type: str, period: int) -> int:
    """Seconds after which the next one of this type is due."""
    known = period or PERIODS.get(backup_type, 0)
    if not known:
        raise invalid("period", period, f"must be given with if_due: how often {backup_type!r} is, nobody knows")
    return known


async def not_due(unit: Unit, vm: VmInstance, backup_type: str, period: int) -> Image | None:
    """The newest, while it is young enough. Where there is none (they may all have been deleted), one is due."""
    seconds = period_of(backup_type, period)
    row = await row_of(unit, vm, backup_type)
    if not row:
        return None
    age = unit.now - row[-1].create_date
    return row[-1] if age < (seconds - seconds // SLACK) * SECOND else None


async def begin_backup(unit: Unit, vm: VmInstance, image: Image) -> None:
    """It takes its place in the row; those that are no more leave it."""
    backups = await unit.companion(VmBackups, vm)
    row = backups.backups.get(image.backup_type, ())
    gone = tuple([uuid for uuid in row if await unit.find(Image, uuid) is None])
    if gone:
        backups.trigger(backups.Forgotten(backup_type=image.backup_type, image_uuids=gone))
    backups.trigger(backups.Begun(backup_type=image.backup_type, image_uuid=image.uuid))


async def surplus(unit: Unit, vm: VmInstance, backup_type: str, rotation: int) -> list[Image]:
    """Those that are there and too many, oldest first; none with a rotation of 0."""
    ready = []
    for image in await row_of(unit, vm, backup_type):
        if (await unit.companion(ImageFacts, image)).status is ImageStatus.READY:
            ready.append(image)
    return ready[:-rotation] if rotation else []
