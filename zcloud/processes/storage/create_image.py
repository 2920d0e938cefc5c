"""Makes an image of what a volume or a snapshot holds, running VM or not (BS-22, BS-23, VM-17).

A volume is captured in a temporary snapshot, in the queue of whoever has the volume: that takes a moment, and the VM
can be started, stopped and changed while the frozen file is copied. Afterwards what was written since goes back into
the frozen file, or where others came to lie on it, it is deleted like any snapshot.
"""

from __future__ import annotations

import posixpath
from typing import Any

from zcloud.domain.compute.data_volumes import must_work_on, worker
from zcloud.domain.compute.machine import answers
from zcloud.domain.compute.vm_backups import surplus
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.operations.global_config import setting_bytes
from zcloud.domain.storage.backup_storage import BackupStorageStatus, must_move_bits
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.image_copies import room_on
from zcloud.domain.storage.image_room import claim_export, release_export
from zcloud.domain.storage.snapshots import Chained, chained, facts_of, taken_back, unplan
from zcloud.domain.storage.storage_network import data_address
from zcloud.domain.storage.volume import Volume
from zcloud.domain.storage.volume_room import must_serve
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.kernel.errors import Reason, Refused, precondition
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Step, SubJob, Task, Workflow
from zcloud.processes.compute.hosts import must_reach
from zcloud.processes.compute.start_steps import touched
from zcloud.processes.storage.add_image import AWAY, AddImageOnce, both, discard, download_task, downloaded
from zcloud.processes.storage.create_volume_snapshots import TAKE_SECONDS
from zcloud.processes.storage.expunge_image import expunge
from zcloud.processes.storage.reach import reach
from zcloud.processes.storage.snapshot_tasks import delete_files_task
from zcloud.processes.storage.volume_tasks import user_of
from zcloud.processes.watch import log
from zcloud.v1.image_task_pb2 import ExportVolumeResult, ExportVolumeTask
from zcloud.v1.volume_snapshot_task_pb2 import SnapshotDisk, UndoSnapshotsTask

# All that a volume holds is read, written, and sent.
EXPORT_SECONDS = 72 * 3600


async def nothing(unit: Unit, job: Job) -> None:
    """There is nothing to do; what comes to lie on the backup storage is removed again if the job fails."""


# -- the snapshot


async def _temporary(unit: Unit, job: Job) -> tuple[Volume, VolumeSnapshot] | None:
    """The volume and the snapshot that the job itself has taken of it, as long as both are there."""
    volume = await unit.find(Volume, job.args["volume_uuid"])
    snapshot = await unit.find(VolumeSnapshot, job.args["snapshot_uuid"]) if job.args["temporary"] else None
    return (volume, snapshot) if volume is not None and snapshot is not None else None


async def take_snapshot(unit: Unit, job: Job) -> SubJob | None:
    """When the jobs before it have ended."""
    if not job.args["temporary"]:
        return None
    found = await _temporary(unit, job)
    if found is None:
        text = f"volume {job.args['volume_uuid']} is gone"
        raise precondition(Reason.WRONG_STATUS, text, volume_uuid=job.args["volume_uuid"])
    args = {"volume_uuids": [found[0].uuid], "snapshot_uuids": [found[1].uuid]}
    return SubJob("create_volume_snapshots", await worker(unit, found[0]), args)


async def retract(unit: Unit, job: Job) -> SubJob | None:
    """While nothing else lies on it, that costs what was written since, and no more."""
    found = await _temporary(unit, job)
    if found is None or (await chained(unit, found[0].uuid)).chain.tip != found[1].uuid:
        return None
    args = {"volume_uuid": found[0].uuid, "snapshot_uuid": found[1].uuid}
    return SubJob("retract_volume_snapshot", await worker(unit, found[0]), args)


async def delete(unit: Unit, job: Job) -> SubJob | None:
    """Others have come to lie on it."""
    found = await _temporary(unit, job)
    if found is None or found[1].uuid not in (await chained(unit, found[0].uuid)).chain.nodes:
        return None
    return SubJob("delete_volume_snapshot", await worker(unit, found[0]), {"snapshot_uuid": found[1].uuid})


async def drop(unit: Unit, job: Job) -> SubJob | None:
    """One way or the other."""
    return await retract(unit, job) or await delete(unit, job)


# -- the bits


async def _export(unit: Unit, job: Job) -> tuple[Chained, str]:
    """The volume, and the file that is written before it is sent."""
    it = await chained(unit, job.args["volume_uuid"])
    return it, posixpath.join(posixpath.dirname(it.disk.install_path), f"{job.resource_uuid}.export")


async def export(unit: Unit, job: Job) -> Task:
    """The host that has the file brings it to the backup storage."""
    image, storage = await both(unit, job)
    must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))
    it, part = await _export(unit, job)
    node = it.chain.nodes.get(job.args["snapshot_uuid"])
    if node is None or not node.path:
        text = f"snapshot {job.args['snapshot_uuid']} is gone"
        raise precondition(Reason.WRONG_STATUS, text, snapshot_uuid=job.args["snapshot_uuid"])
    await must_reach(unit, it.disk.host_uuid, "copy the volume")
    return Task(
        it.disk.host_uuid,
        ExportVolumeTask(
            volume_uuid=it.volume.uuid,
            path=node.path,
            part_path=part,
            target=reach(unit, storage, await data_address(unit, storage)),
            storage_url=storage.url,
            image_uuid=image.uuid,
            max_bytes=max(1, await room_on(unit, storage)),
            rate_limit=await setting_bytes(unit, "image", "download.rateLimit"),
        ),
    )


async def exported(unit: Unit, job: Job, result: ExportVolumeResult) -> None:
    """It lies on the backup storage, and not on the host any more."""
    it, _ = await _export(unit, job)
    await release_export(unit, it, await unit.get(Image, job.resource_uuid))


async def remove_part(unit: Unit, job: Job) -> Task | None:
    """What a host that broke off may have left."""
    if not touched(job, "export") or await unit.find(Volume, job.args["volume_uuid"]) is None:
        return None
    it, part = await _export(unit, job)
    if not await answers(unit, it.disk.host_uuid):
        return None
    return delete_files_task(it.disk.host_uuid, [(it.volume.uuid, part)])


async def store(unit: Unit, job: Job) -> Task:
    """The storage looks at what was brought, and takes it over."""
    image, storage = await both(unit, job)
    told = job.results["export"]
    task = await download_task(unit, image, storage, told["sha256"])
    task.image_url, task.upload_size = f"upload://{image.uuid}.{image.format.suffix}", told["actual_size"]
    return Task(NODE, task)


class CreateImage(AddImageOnce, name="create_image", version=1, title="create image"):
    """args: volume_uuid, snapshot_uuid, temporary, backup_storage_uuid, rotation."""

    table = (
        Step("download", nothing, undo=discard, timeout=600, out_of_reach=AWAY),
        Step("snapshot", take_snapshot, undo=drop, timeout=EXPORT_SECONDS, forgive=("undo",)),
        Step("export", export, exported, undo=remove_part, timeout=EXPORT_SECONDS, forgive=("undo",)),
        Step("retract", retract, timeout=EXPORT_SECONDS, forgive=("do",)),
        Step("delete", delete, timeout=EXPORT_SECONDS, forgive=("do",)),
        Step("store", store, downloaded, timeout=EXPORT_SECONDS),
    )

    async def begin(self, unit: Unit, job: Job) -> None:
        it = await chained(unit, job.args["volume_uuid"])
        if not job.args["temporary"]:
            snapshot = await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])
            (await facts_of(unit, snapshot.uuid)).must_be_ready(snapshot, "copied")
        await claim_export(unit, it, await unit.get(Image, job.resource_uuid), job.args["snapshot_uuid"])

    async def succeed(self, unit: Unit, job: Job) -> None:
        await _settle(unit, job)
        image = await unit.get(Image, job.resource_uuid)
        vm = await unit.find(VmInstance, image.vm_instance_uuid) if image.vm_instance_uuid else None
        if vm is not None:
            for old in await surplus(unit, vm, image.backup_type, job.args.get("rotation", 0)):
                unit.because(old, f"the newest {job.args['rotation']} {image.backup_type} backups are kept")
                await _rotate(unit, old)

    async def fail(self, unit: Unit, job: Job) -> None:
        await _settle(unit, job)
        await super().fail(unit, job)


async def _rotate(unit: Unit, image: Image) -> None:
    """Out of the way, and out of the world where its storage can be reached; else that is left to the recycle bin."""
    before = unit.savepoint()
    try:
        image.delete(await unit.companion(ImageFacts, image))
        before = unit.savepoint()
        await expunge(unit, image)
    except Refused as refused:
        unit.roll_back(before)
        log.info("backup %s is not removed yet: %s", image.uuid, refused.message)


async def _settle(unit: Unit, job: Job) -> None:
    """No room is kept any more, and no snapshot that never came to be."""
    if await unit.find(Volume, job.args["volume_uuid"]) is None:
        return
    it, _ = await _export(unit, job)
    await release_export(unit, it, await unit.get(Image, job.resource_uuid))
    found = await _temporary(unit, job)
    if found is not None and found[1].uuid not in it.chain.nodes:
        unit.because(found[1], f"it could not be taken: {job.error}")
        await unplan(unit, it, found[1])


# -- taking a snapshot back that was of use for a while


async def _files(unit: Unit, job: Job) -> tuple[Chained, VolumeSnapshot]:
    return await chained(unit, job.args["volume_uuid"]), await unit.get(VolumeSnapshot, job.args["snapshot_uuid"])


async def put_back(unit: Unit, job: Job) -> Task:
    """What was written since goes into the frozen file, which is the volume's own again."""
    it, snapshot = await _files(unit, job)
    await must_reach(unit, it.disk.host_uuid, "merge the snapshot")
    disk = SnapshotDisk(
        volume_uuid=it.volume.uuid,
        path=it.chain.nodes[snapshot.uuid].path,
        new_path=it.disk.install_path,
        format=it.volume.format,
    )
    vm = await user_of(unit, it.volume)
    return Task(it.disk.host_uuid, UndoSnapshotsTask(vm_instance_uuid=vm, disks=[disk]))


async def go_on(unit: Unit, job: Job) -> Task | None:
    """No other way leads back: what has begun to go into the frozen file goes there."""
    snapshot = await unit.find(VolumeSnapshot, job.args["snapshot_uuid"])
    return await put_back(unit, job) if snapshot is not None and touched(job, "put_back") else None


async def was_put_back(unit: Unit, job: Job, result: Any) -> None:
    """Nothing of the snapshot is left."""
    it, snapshot = await _files(unit, job)
    await taken_back(unit, it, snapshot)
    await unplan(unit, it, snapshot)


class RetractVolumeSnapshot(Workflow, name="retract_volume_snapshot", version=1, title="take back snapshot of"):
    """args: volume_uuid, snapshot_uuid. Broken off anywhere, it is brought to its end."""

    table = (Step("put_back", put_back, was_put_back, undo=go_on, undone=was_put_back, timeout=TAKE_SECONDS * 12),)

    async def begin(self, unit: Unit, job: Job) -> None:
        it, snapshot = await _files(unit, job)
        await must_work_on(unit, it.volume, job)
        await must_serve(unit, it.volume, "relieved of a snapshot", while_connecting=True)
        if it.chain.tip != snapshot.uuid:
            text = f'snapshot "{snapshot.name}" is not the one that the volume lies on; delete it instead'
            raise precondition(Reason.WRONG_STATUS, text, snapshot_uuid=snapshot.uuid)
        (await facts_of(unit, snapshot.uuid)).must_be_ready(snapshot, "taken back")
