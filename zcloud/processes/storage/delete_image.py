"""Deletes an ISO that lies in CD drives of VMs: it is taken out of them first, and goes to the recycle bin then."""

from __future__ import annotations

from zcloud.domain.storage import image_bin
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Workflow
from zcloud.processes.storage.expunge_image import expunge
from zcloud.processes.storage.image_store import end_exports
from zcloud.processes.storage.iso_drives import EJECT_SECONDS, next_drive


class DeleteImage(Workflow, name="delete_image", version=1, title="delete image"):
    """args: backup_storage_uuids, the copies that were named; all of them where none was. mode: Enforcing goes on
    where a VM keeps it. direct: it is expunged then.
    """

    removes = True
    table = (Step("eject", next_drive, timeout=EJECT_SECONDS, repeat=True, tolerant=True),)

    async def begin(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        facts = await unit.companion(ImageFacts, image)
        image_bin.takes_all(image, facts, tuple(job.args["backup_storage_uuids"]))
        # No VM can be given it from now on.
        image.begin_deletion(job.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        image = await unit.get(Image, job.resource_uuid)
        image.delete(await unit.companion(ImageFacts, image))
        if job.args["direct"]:
            await expunge(unit, image, tuple(job.args["backup_storage_uuids"]), job.uuid)
        else:
            await end_exports(unit, image)

    async def fail(self, unit: Unit, job: Job) -> None:
        (await unit.get(Image, job.resource_uuid)).abort_deletion(job.error)
