"""Reads an image where it lies on a backup storage: its digest, or how big its file is."""

from __future__ import annotations

from zcloud.domain.storage.backup_storage import (
    BackupStorage,
    BackupStorageCapacity,
    BackupStorageStatus,
    must_move_bits,
)
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Step, Task, Workflow
from zcloud.processes.storage.reach import is_store, reach
from zcloud.v1.backup_storage_task_pb2 import MeasureImageResult, MeasureImageTask

LONG = 6 * 3600


async def measure(unit: Unit, job: Job) -> Task | None:
    """Nothing where the copy has gone."""
    image = await unit.get(Image, job.resource_uuid)
    storage = await unit.get(BackupStorage, job.args["backup_storage_uuid"])
    copy = (await unit.companion(ImageFacts, image)).copy_on(storage.uuid)
    if copy is None:
        return None
    must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))
    task = MeasureImageTask(
        target=reach(unit, storage),
        storage_url=storage.url,
        install_path=copy.install_path,
        image_store=is_store(storage),
        algorithm=job.args.get("algorithm", ""),
    )
    return Task(NODE, task)


async def hashed(unit: Unit, job: Job, result: MeasureImageResult) -> None:
    """Kept with the copy."""
    facts = await unit.companion_of(ImageFacts, job.resource_uuid)
    facts.hashed(job.args["backup_storage_uuid"], job.args["algorithm"], result.digest)


async def sized(unit: Unit, job: Job, result: MeasureImageResult) -> None:
    """In the books of the storage as well, unless they say what its pieces take."""
    image = await unit.get(Image, job.resource_uuid)
    (await unit.companion(ImageFacts, image)).sync_size(result.actual_size)
    storage = await unit.get(BackupStorage, job.args["backup_storage_uuid"])
    capacity = await unit.companion(BackupStorageCapacity, storage)
    if not is_store(storage) and image.uuid in capacity.images:
        capacity.store(image.uuid, result.actual_size)


class CalculateImageHash(Workflow, name="calculate_image_hash", version=1, title="calculate the hash of image"):
    """args: backup_storage_uuid, algorithm."""

    table = (Step("measure", measure, hashed, timeout=LONG),)


class SyncImageSize(Workflow, name="sync_image_size", version=1, title="sync the size of image"):
    """args: backup_storage_uuid."""

    table = (Step("measure", measure, sized, timeout=300),)
