"""Drops uploads that do not go on: no stream was begun for image/upload.idleLimit, and their room is kept (IMG-06)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zcloud.domain.operations.global_config import setting_int
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.kernel.clock import SECOND
from zcloud.kernel.job import JobQueue
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.watch import Watch


class ImageUploads(Watch, name="image_uploads", interval=("image", "upload.sweepInterval")):
    """An image whose job checks it is no upload any more."""

    async def look(self) -> None:
        for uuid in await self.cloud.ports["views"].where("image", status="Creating"):
            await self.decide("its upload did not go on for image/upload.idleLimit", self._drop_if_idle(uuid))

    def _drop_if_idle(self, uuid: str) -> Callable[[Unit], Awaitable[None]]:
        async def decide(unit: Unit) -> None:
            image = await unit.find(Image, uuid)
            if image is None or image.deleting_job or (await unit.companion(JobQueue, image)).jobs:
                return
            facts = await unit.companion(ImageFacts, image)
            limit = await setting_int(unit, "image", "upload.idleLimit")
            if facts.status is ImageStatus.CREATING and facts.copies and facts.upload_date + limit * SECOND <= unit.now:
                args = {"backup_storage_uuid": facts.copies[0].backup_storage_uuid}
                await submit(unit, "drop_image_upload", image, args)

        return decide
