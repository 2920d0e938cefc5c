"""Empties the images' recycle bin: each copy that lay there for image/expungePeriod is expunged (IMG-09)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zcloud.domain.operations.global_config import setting, setting_int
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Refused
from zcloud.kernel.unit import Unit
from zcloud.processes.storage.expunge_image import expunge
from zcloud.processes.watch import Watch, log


class ImageExpunge(Watch, name="image_expunge", interval=("image", "expungeInterval")):
    """With the policy Never only a caller expunges."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].holding("image", "copies", "Deleted", "status"):
            try:
                await self.decide("it was in the recycle bin for image/expungePeriod", self._expunge_if_due(uuid))
            except Refused as refused:  # its storage is away, or a job is at work: next time
                log.info("image %s is not expunged: %s", uuid, refused.message)

    def _expunge_if_due(self, uuid: str) -> Callable[[Unit], Awaitable[None]]:
        async def decide(unit: Unit) -> None:
            image = await unit.find(Image, uuid)
            if image is None or image.deleting_job:
                return
            period = await setting_int(unit, "image", "expungePeriod", image)
            if await setting(unit, "image", "deletionPolicy", image) == "Never":
                return
            due = []
            for copy in (await unit.companion(ImageFacts, image)).copies:
                binned = copy.status is ImageStatus.DELETED and not copy.expunging
                if binned and (copy.deleted_date or image.deleted_date) + period * SECOND <= unit.now:
                    due.append(copy.backup_storage_uuid)
            if due:
                await expunge(unit, image, tuple(due))

        return decide
