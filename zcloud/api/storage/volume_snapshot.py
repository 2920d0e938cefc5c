"""Calls on snapshots: taken, reverted to and deleted by jobs that wait in the queue of whoever has the volume."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from zcloud.api import access
from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.pipeline import respond
from zcloud.domain.compute.data_volumes import vm_of, worker
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.snapshots import chained, facts_of, must_be_whole
from zcloud.domain.storage.volume import Volume
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.kernel.errors import invalid
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit

# With more of them every read goes through many files (SNP-06).
MANY = 5


@command("CreateVolumeSnapshot")
async def create_volume_snapshot(call: Call, unit: Unit, request: Any) -> Message:
    """Of a volume that is attached or not, while its VM runs or not (VM-14, VOL-10)."""
    it = await chained(unit, request.volume_uuid)
    access.must_own(call.actor, it.volume, "volume")
    vm = await vm_of(unit, it.volume)
    if vm is not None:
        vm.status.must_allow("take a snapshot of", ALLOWED["snapshot"])
    await must_be_whole(unit, it)
    snapshot = await unit.new(VolumeSnapshot, request.resource_uuid, account_uuid=it.volume.account_uuid)
    snapshot.create(
        name=request.name,
        description=request.description,
        volume_uuid=it.volume.uuid,
        volume_type=it.volume.type,
        zone_uuid=it.volume.zone_uuid,
        vm_instance_uuid=it.volume.vm_instance_uuid,
    )
    args = {"volume_uuids": [it.volume.uuid], "snapshot_uuids": [snapshot.uuid]}
    await submit(unit, "create_volume_snapshots", await worker(unit, it.volume), args)
    response: Any = await respond(call, unit, snapshot)
    response.warnings.extend(warnings(it.volume, len(it.chain.nodes) + 1))
    return response  # type: ignore[no-any-return]


def warnings(volume: Volume, count: int) -> list[str]:
    """What a person should know, and may do all the same (SNP-06)."""
    if count <= MANY:
        return []
    return [f'volume "{volume.name}" has {count} snapshots; more than {MANY} make it slow: delete old ones']


@command("RevertVolumeFromSnapshot")
async def revert_volume(call: Call, unit: Unit, request: Any) -> VolumeSnapshot:
    """What was written since is lost; the VM must be stopped (behaviours 8)."""
    snapshot = await unit.get(VolumeSnapshot, request.uuid)
    snapshot.must_be_enabled()
    (await facts_of(unit, snapshot.uuid)).must_be_ready(snapshot, "reverted to")
    it = await chained(unit, snapshot.volume_uuid)
    vm = await vm_of(unit, it.volume)
    if vm is not None:
        vm.status.must_allow("revert a volume of", ALLOWED["revert"])
    elif request.start_after:
        raise invalid("start_after", True, "must be absent for a volume that no VM has")
    args = {
        "volume_uuids": [it.volume.uuid],
        "snapshot_uuids": [snapshot.uuid],
        "start_after": request.start_after,
    }
    await submit(unit, "revert_volumes", await worker(unit, it.volume), args)
    return snapshot


@command("DeleteVolumeSnapshot")
async def delete_volume_snapshot(call: Call, unit: Unit, request: Any) -> VolumeSnapshot:
    """Those that were taken later stay whole."""
    snapshot = await unit.get(VolumeSnapshot, request.uuid)
    await order_deletion(unit, snapshot)
    return snapshot


async def order_deletion(unit: Unit, snapshot: VolumeSnapshot) -> None:
    """One after the other, for those of one volume."""
    (await facts_of(unit, snapshot.uuid)).must_be_ready(snapshot, "deleted")
    it = await chained(unit, snapshot.volume_uuid)
    vm = await vm_of(unit, it.volume)
    if vm is not None:
        vm.status.must_allow("delete a snapshot of", ALLOWED["delete_snapshot"])
    args = {"snapshot_uuid": snapshot.uuid}
    await submit(unit, "delete_volume_snapshot", await worker(unit, it.volume), args)


@command("BatchDeleteVolumeSnapshots")
async def batch_delete(call: Call, unit: Unit, request: Any) -> Message:
    """All of them, or none where one cannot be (SNP-05); a job for each."""
    response: Any = call.rpc.response()
    for uuid in dict.fromkeys(request.volume_snapshot_uuids):
        snapshot = await unit.get(VolumeSnapshot, uuid)
        access.must_own(call.actor, snapshot, "volume_snapshot")
        await order_deletion(unit, snapshot)
        response.job_uuids.append(unit.job_uuid)
    return response  # type: ignore[no-any-return]
