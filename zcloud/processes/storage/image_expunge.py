"""Empties the images' recycle bin: what lay there for image/expungePeriod is expunged (IMG-09)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zcloud.domain.operations.global_config import setting, setting_int
from zcloud.domain.storage.image import Image
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Refused
from zcloud.kernel.unit import Unit
from zcloud.processes.storage.expunge_image import expunge
from zcloud.processes.watch import Watch, log


class ImageExpunge(Watch, name="image_expunge", interval=("image", "expungeInterval")):
    """With the policy Never only a caller expunges."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].where("image", status="Deleted"):
            try:
                await self.decide("it was in the recycle bin for image/expungePeriod", self._expunge_if_due(uuid))
            except Refused as refused:  # its storage is away, or a job is at work: next time
                log.info("image %s is not expunged: %s", uuid, refused.message)

    def _expunge_if_due(self, uuid: str) -> Callable[[Unit], Awaitable[None]]:
        async def decide(unit: Unit) -> None:
            image = await unit.find(Image, uuid)
            if image is None or not image.deleted or image.deleting_job:
                return
            period = await setting_int(unit, "image", "expungePeriod", image)
            if await setting(unit, "image", "deletionPolicy", image) == "Never":
                return
            if image.deleted_date + period * SECOND <= unit.now:
                await expunge(unit, image)

        return decide
