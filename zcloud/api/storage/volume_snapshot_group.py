"""Calls on snapshots of whole VMs: taken at one moment, reverted to together, or let go of (SNP-03, SNP-04)."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from zcloud.api import access
from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.pipeline import respond
from zcloud.api.storage.volume_snapshot import order_deletion, warnings
from zcloud.domain.compute.machine import Machine, machine
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage.snapshots import chained, facts_of, must_be_whole
from zcloud.domain.storage.volume import Volume
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot
from zcloud.domain.storage.volume_snapshot_group import GroupMember, VolumeSnapshotGroup
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


@command("CreateVolumeSnapshotGroup")
async def create_group(call: Call, unit: Unit, request: Any) -> Message:
    """Of all volumes that the VM has, by the VM or by its root volume."""
    it = await _machine(unit, request)
    access.must_own(call.actor, it.vm, "vm_instance")
    it.status.must_allow("take snapshots of", ALLOWED["snapshot"])
    group = await unit.new(VolumeSnapshotGroup, request.resource_uuid, account_uuid=it.vm.account_uuid)
    members, told = [], []
    for volume in _volumes(it):
        found = await chained(unit, volume.uuid)
        await must_be_whole(unit, found)
        snapshot = await unit.new(VolumeSnapshot, account_uuid=it.vm.account_uuid)
        snapshot.create(
            name=f"{request.name}-{volume.name}",
            volume_uuid=volume.uuid,
            volume_type=volume.type,
            zone_uuid=volume.zone_uuid,
            vm_instance_uuid=it.vm.uuid,
            group_uuid=group.uuid,
        )
        members.append(GroupMember(snapshot.uuid, volume.uuid, volume.device_id))
        told += warnings(volume, len(found.chain.nodes) + 1)
    group.create(
        name=request.name,
        description=request.description,
        vm_instance_uuid=it.vm.uuid,
        zone_uuid=it.vm.zone_uuid,
        members=tuple(members),
    )
    args = {
        "volume_uuids": [member.volume_uuid for member in members],
        "snapshot_uuids": [member.volume_snapshot_uuid for member in members],
    }
    await submit(unit, "create_volume_snapshots", it.vm, args)
    response: Any = await respond(call, unit, group)
    response.warnings.extend(told)
    return response  # type: ignore[no-any-return]


async def _machine(unit: Unit, request: Any) -> Machine:
    if bool(request.vm_instance_uuid) is bool(request.root_volume_uuid):
        text = "must be given, or root_volume_uuid, and not both"
        raise invalid("vm_instance_uuid", request.vm_instance_uuid, text)
    if request.vm_instance_uuid:
        return await machine(unit, request.vm_instance_uuid)
    volume = await unit.get(Volume, request.root_volume_uuid)
    if not volume.vm_instance_uuid:
        raise invalid("root_volume_uuid", volume.uuid, "must be the root volume of a VM")
    return await machine(unit, volume.vm_instance_uuid)


def _volumes(it: Machine) -> list[Volume]:
    return [it.volume, *(data.volume for data in it.data)]


@command("RevertVmFromSnapshotGroup")
async def revert_vm(call: Call, unit: Unit, request: Any) -> VolumeSnapshotGroup:
    """All volumes of the VM, or none; where that is not possible each reason is named (behaviours 8)."""
    group = await unit.get(VolumeSnapshotGroup, request.uuid)
    whys = await _objections(unit, group)
    if whys:
        text = f'VM cannot be reverted to group "{group.name}": {"; ".join(whys)}; revert its snapshots one by one'
        raise precondition(Reason.NOT_SUPPORTED, text, volume_snapshot_group_uuid=group.uuid)
    it = await machine(unit, group.vm_instance_uuid)
    it.status.must_allow("revert", ALLOWED["revert"])
    for member in group.members:
        snapshot = await unit.get(VolumeSnapshot, member.volume_snapshot_uuid)
        snapshot.must_be_enabled()
        (await facts_of(unit, snapshot.uuid)).must_be_ready(snapshot, "reverted to")
    args = {
        "volume_uuids": [member.volume_uuid for member in group.members],
        "snapshot_uuids": [member.volume_snapshot_uuid for member in group.members],
        "start_after": request.start_after,
    }
    await submit(unit, "revert_volumes", it.vm, args)
    return group


async def _objections(unit: Unit, group: VolumeSnapshotGroup) -> list[str]:
    """No snapshot deleted, every volume still attached, no new one attached."""
    vm = await unit.find(VmInstance, group.vm_instance_uuid)
    if vm is None:
        return [f"VM {group.vm_instance_uuid} is gone"]
    it = await machine(unit, vm.uuid)
    has = {volume.uuid for volume in _volumes(it)}
    whys = [f"snapshot {m.volume_snapshot_uuid} was deleted" for m in group.members if m.deleted]
    whys += [f"volume {m.volume_uuid} is not attached any more" for m in group.members if m.volume_uuid not in has]
    new = has - {member.volume_uuid for member in group.members}
    return whys + [f"volume {uuid} was attached since" for uuid in sorted(new)]


@command("UngroupVolumeSnapshotGroup")
async def ungroup(call: Call, unit: Unit, request: Any) -> VolumeSnapshotGroup:
    """Its snapshots stand alone from now on (SNP-04)."""
    group = await unit.get(VolumeSnapshotGroup, request.uuid)
    for snapshot in await _snapshots(unit, group):
        (await facts_of(unit, snapshot.uuid)).must_be_ready(snapshot, "taken out of its group")
        snapshot.ungroup()
    group.remove()
    return group


@command("DeleteVolumeSnapshotGroup")
async def delete_group(call: Call, unit: Unit, request: Any) -> VolumeSnapshotGroup:
    """With all its snapshots; the job of the last one is told."""
    group = await unit.get(VolumeSnapshotGroup, request.uuid)
    for snapshot in await _snapshots(unit, group):
        await order_deletion(unit, snapshot)
    return group


async def _snapshots(unit: Unit, group: VolumeSnapshotGroup) -> list[VolumeSnapshot]:
    found = [await unit.find(VolumeSnapshot, m.volume_snapshot_uuid) for m in group.members if not m.deleted]
    return [snapshot for snapshot in found if snapshot is not None]
