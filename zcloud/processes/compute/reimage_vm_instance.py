"""Makes the root volume of a stopped VM anew: from its own image (VM-27), or from another one (VM-26).

The new file lies beside the old one until it is whole; then the VM has it, and the old one is swept away.
"""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.machine import Machine, answers, machine
from zcloud.domain.compute.reimage import given_up, made_anew, place_of, plan
from zcloud.domain.storage.image import Image, MediaType
from zcloud.domain.storage.snapshots import Chained, chained
from zcloud.kernel.errors import not_found
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task, Workflow
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.start_steps import CACHE_SECONDS, touched
from zcloud.processes.storage import image_cache
from zcloud.processes.storage.snapshot_tasks import delete_files_task, next_path
from zcloud.v1.image_task_pb2 import CacheImageResult
from zcloud.v1.volume_task_pb2 import CreateDataVolumeTask, CreateRootVolumeTask


async def _parts(unit: Unit, job: Job) -> tuple[Machine, Image, Chained]:
    it = await machine(unit, job.resource_uuid)
    # An image that is gone still serves where it is cached (IMG-10).
    image = await unit.last(Image, job.args["image_uuid"])
    if image is None:
        raise not_found("image", job.args["image_uuid"])
    return it, image, await chained(unit, it.volume.uuid)


async def cache(unit: Unit, job: Job) -> Task | None:
    """The image, unless the host has it. Nothing of an ISO is in the volume."""
    it, image, _ = await _parts(unit, job)
    if image.media_type is MediaType.ISO:
        return None
    storage, host = await place_of(unit, it)
    return await image_cache.cache_task(unit, image, storage, host.uuid)


async def cached(unit: Unit, job: Job, result: CacheImageResult) -> None:
    """It stays, whatever becomes of the job."""
    it, image, _ = await _parts(unit, job)
    storage, host = await place_of(unit, it)
    await image_cache.cached(unit, image, storage, host.uuid, result)


async def create(unit: Unit, job: Job) -> Task:
    """The new file, beside the old one."""
    it, image, files = await _parts(unit, job)
    await must_reach(unit, it.disk.host_uuid, "make the root volume anew")
    storage, host = await place_of(unit, it)
    new: dict[str, Any] = {"volume_uuid": it.volume.uuid, "path": next_path(files, job), "size": job.args["size"]}
    if image.media_type is MediaType.ISO:
        return Task(host.uuid, CreateDataVolumeTask(**new))
    path = image_cache.cache_path(storage, image)
    return Task(host.uuid, CreateRootVolumeTask(backing_path=path, backing_format=image.format.suffix, **new))


async def created(unit: Unit, job: Job, result: Any) -> None:
    """From now on it is the root volume."""
    it, image, files = await _parts(unit, job)
    await made_anew(unit, it, image, next_path(files, job), job.args["size"], result.actual_size)


async def discard(unit: Unit, job: Job) -> Task | None:
    """The new file, while the VM does not have it."""
    it, _, files = await _parts(unit, job)
    done = files.disk.install_path == next_path(files, job)
    if done or not touched(job, "create_root_volume") or not await answers(unit, it.disk.host_uuid):
        return None
    return delete_files_task(it.disk.host_uuid, [(it.volume.uuid, next_path(files, job))])


async def sweep(unit: Unit, job: Job) -> Task | None:
    """What the VM had before; should this fail, it is swept with the next file of the volume that goes."""
    it, _, files = await _parts(unit, job)
    gone = [(it.volume.uuid, path) for path in files.chain.trash]
    return delete_files_task(it.disk.host_uuid, gone) if gone else None


async def swept(unit: Unit, job: Job, result: Any) -> None:
    """Gone."""
    _, _, files = await _parts(unit, job)
    files.chain.swept()


class ReimageVmInstance(Workflow, name="reimage_vm_instance", version=1, title="reimage VM"):
    """args: image_uuid, and the size of the root volume in bytes."""

    table = (
        Step("cache_image", cache, cached, timeout=CACHE_SECONDS),
        Step("create_root_volume", create, created, undo=discard, timeout=300),
        Step("sweep", sweep, swept, timeout=300, forgive=("do",)),
    )

    async def begin(self, unit: Unit, job: Job) -> None:
        it, image, _ = await _parts(unit, job)
        await plan(unit, it, image, job.args["size"])

    async def fail(self, unit: Unit, job: Job) -> None:
        it, image, _ = await _parts(unit, job)
        await given_up(unit, it, image)
