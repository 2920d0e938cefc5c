"""Snapshots of a volume with all that stands beside them, as one decision sees it: taken, reverted to, merged, gone."""

from __future__ import annotations

from dataclasses import dataclass

from zcloud.domain.operations.global_config import setting_int
from zcloud.domain.storage import allocation
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.domain.storage.volume_chain import ChainNode, VolumeChain
from zcloud.domain.storage.volume_room import must_serve, release_room, where
from zcloud.domain.storage.volume_snapshot import VolumeSnapshot, VolumeSnapshotFacts
from zcloud.domain.storage.volume_snapshot_group import VolumeSnapshotGroup
from zcloud.domain.storage.volume_snapshot_tree import VolumeSnapshotTree
from zcloud.kernel.errors import Code, Reason, Refused, precondition
from zcloud.kernel.resource import State
from zcloud.kernel.unit import Unit


@dataclass(frozen=True)
class Chained:
    """A volume, its file, and its snapshots' files."""

    volume: Volume
    disk: VolumeStatus
    chain: VolumeChain


async def chained(unit: Unit, volume_uuid: str) -> Chained:
    """The volume; raises NOT_FOUND."""
    volume = await unit.get(Volume, volume_uuid)
    return Chained(volume, await unit.companion(VolumeStatus, volume), await unit.companion(VolumeChain, volume))


def claim_key(snapshot_uuid: str) -> str:
    """The key by which a snapshot's file claims room."""
    return f"snapshot/{snapshot_uuid}"


async def facts_of(unit: Unit, snapshot_uuid: str) -> VolumeSnapshotFacts:
    """What is known of a snapshot that is there."""
    return await unit.companion(VolumeSnapshotFacts, await unit.get(VolumeSnapshot, snapshot_uuid))


async def must_be_whole(unit: Unit, it: Chained) -> None:
    """Refuses snapshots of a volume that is not there, or may not be used."""
    it.disk.must_be(it.volume, "captured in a snapshot", VolumeState.READY)
    if it.volume.state is not State.ENABLED:
        text = f'volume "{it.volume.name}" is {it.volume.state.value}; enable it first'
        raise precondition(Reason.WRONG_STATE, text, state=it.volume.state.value)
    await must_serve(unit, it.volume, "captured in a snapshot")
    found = await where(unit, it.disk)
    lack = (
        await allocation.lacks(unit, *found, 0, real=it.disk.actual_size, grows=True)
        if found is not None
        else "its host is gone"
    )
    if lack:
        text = f'there is no room for a snapshot of volume "{it.volume.name}": {lack}'
        raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE, text)


# -- taking


async def plan(unit: Unit, it: Chained, snapshot: VolumeSnapshot) -> None:
    """Its place in the current tree, or at the root of a new one (behaviours 8)."""
    tip = it.chain.nodes.get(it.chain.tip)
    most = await setting_int(unit, "volumeSnapshot", "incrementalSnapshot.maxNum")
    facts = await unit.companion(VolumeSnapshotFacts, snapshot)
    if tip is not None and tip.distance < most - 1:
        facts.plan(tip.tree, it.chain.tip, tip.distance + 1)
        return
    tree = await unit.new(VolumeSnapshotTree, account_uuid=it.volume.account_uuid)
    tree.create(f"snapshots of {it.volume.name}"[:255], it.volume.uuid, it.volume.zone_uuid)
    facts.plan(tree.uuid, "", 0)


async def cut_off(unit: Unit, it: Chained) -> None:
    """The volume's own file lies on no snapshot any more."""
    await _move_tip(unit, it, "")


async def taken(unit: Unit, it: Chained, snapshot: VolumeSnapshot, *, new_path: str, size: int, quiesced: bool) -> None:
    """The volume's file is the snapshot's from now on, and another is written to."""
    facts = await unit.companion(VolumeSnapshotFacts, snapshot)
    old = it.chain.tip
    node = ChainNode(it.disk.install_path, old, facts.tree_uuid, facts.distance, size, it.volume.size)
    if old and it.chain.nodes[old].tree == node.tree:
        (await facts_of(unit, old)).set_latest(False)
    else:
        await _mark_tip(unit, it, old, latest=False)
    it.chain.extend(snapshot.uuid, node)
    facts.trigger(
        facts.Taken(
            size=size,
            volume_size=it.volume.size,
            install_path=node.path,
            primary_storage_uuid=it.disk.primary_storage_uuid,
            host_uuid=it.disk.host_uuid,
            quiesced=quiesced,
        )
    )
    tree = await unit.get(VolumeSnapshotTree, facts.tree_uuid)
    tree.completed()
    tree.set_current(True)
    it.disk.move(new_path)
    await _book(unit, it, snapshot.uuid, size)


async def taken_back(unit: Unit, it: Chained, snapshot: VolumeSnapshot) -> None:
    """It was not to be: the volume's file is the one that it was."""
    node = it.chain.nodes.get(snapshot.uuid)
    if node is not None:
        it.chain.retract(snapshot.uuid)
        it.disk.move(node.path)
        await _release(unit, it, snapshot.uuid)
        await _mark_tip(unit, it, it.chain.tip, latest=True)


async def unplan(unit: Unit, it: Chained, snapshot: VolumeSnapshot) -> None:
    """Nothing is left of a snapshot that could not be taken (SNP-01)."""
    facts = await unit.companion(VolumeSnapshotFacts, snapshot)
    await _forget_tree(unit, it, facts.tree_uuid)
    await _forget(unit, snapshot)


# -- going back


async def reverted(unit: Unit, it: Chained, snapshot_uuid: str, new_path: str) -> None:
    """The volume is what the snapshot is; the next one will branch off there."""
    node = it.chain.nodes[snapshot_uuid]
    it.chain.discard(it.disk.install_path)
    it.disk.move(new_path)
    it.volume.resized(node.volume_size)
    found = await where(unit, it.disk)
    if found is not None:
        await allocation.book(unit, *found, it.volume.uuid, node.volume_size)
    await _move_tip(unit, it, snapshot_uuid)


async def remade(unit: Unit, it: Chained, new_path: str, size: int, actual_size: int) -> None:
    """The volume begins anew, on no snapshot; those that it has stay."""
    it.chain.discard(it.disk.install_path)
    it.disk.move(new_path)
    it.disk.measured(actual_size)
    it.volume.resized(size)
    await cut_off(unit, it)


# -- deleting


async def merged(unit: Unit, it: Chained, snapshot_uuid: str, into: str, path: str, size: int) -> None:
    """What lies on the snapshot does not need it any more; path: where that now is, if it took the snapshot's place."""
    gone = it.chain.nodes[snapshot_uuid]
    it.chain.merged(snapshot_uuid, into, path, size)
    if into:
        node = it.chain.nodes[into]
        facts = await facts_of(unit, into)
        facts.trigger(facts.Moved(parent_uuid=node.parent, install_path=node.path, size=size))
        await _book(unit, it, into, size)
    else:
        it.disk.measured(size)
        (await facts_of(unit, snapshot_uuid)).set_latest(False)
        await _mark_tip(unit, it, gone.parent, latest=True)


async def dropped(unit: Unit, it: Chained, snapshot: VolumeSnapshot) -> None:
    """It is gone, in every book."""
    node = it.chain.nodes.get(snapshot.uuid)
    it.chain.drop(snapshot.uuid)
    await _release(unit, it, snapshot.uuid)
    if node is not None:
        await _forget_tree(unit, it, node.tree)
    await _forget(unit, snapshot)


async def forget_snapshots(unit: Unit, volume: Volume) -> None:
    """The volume goes, and all its snapshots with it."""
    it = Chained(volume, await unit.companion(VolumeStatus, volume), await unit.companion(VolumeChain, volume))
    for uuid in it.chain.nodes:
        snapshot = await unit.find(VolumeSnapshot, uuid)
        if snapshot is not None:
            await dropped(unit, it, snapshot)


async def forget_volume(unit: Unit, volume: Volume) -> None:
    """Nothing is left of it, in any book; its uuid may be used again."""
    await forget_snapshots(unit, volume)
    await release_room(unit, volume)
    volume.remove()


async def _forget(unit: Unit, snapshot: VolumeSnapshot) -> None:
    group = await unit.find(VolumeSnapshotGroup, snapshot.group_uuid) if snapshot.group_uuid else None
    if group is not None:
        group.member_deleted(snapshot.uuid)
    snapshot.remove()


async def _forget_tree(unit: Unit, it: Chained, tree_uuid: str) -> None:
    tree = await unit.find(VolumeSnapshotTree, tree_uuid) if tree_uuid else None
    if tree is not None and not any(node.tree == tree_uuid for node in it.chain.nodes.values()):
        tree.remove()


async def _move_tip(unit: Unit, it: Chained, tip: str) -> None:
    await _mark_tip(unit, it, it.chain.tip, latest=False)
    it.chain.move_tip(tip)
    await _mark_tip(unit, it, tip, latest=True)


async def _mark_tip(unit: Unit, it: Chained, tip: str, *, latest: bool) -> None:
    """Say of a snapshot and its tree whether the next one will stand there."""
    snapshot = await unit.find(VolumeSnapshot, tip) if tip else None
    if snapshot is None or tip not in it.chain.nodes:
        return
    (await unit.companion(VolumeSnapshotFacts, snapshot)).set_latest(latest)
    tree = await unit.find(VolumeSnapshotTree, it.chain.nodes[tip].tree)
    if tree is not None:
        tree.set_current(latest)


async def _book(unit: Unit, it: Chained, snapshot_uuid: str, size: int) -> None:
    found = await where(unit, it.disk)
    if found is not None:
        await allocation.book(unit, *found, claim_key(snapshot_uuid), size)


async def _release(unit: Unit, it: Chained, snapshot_uuid: str) -> None:
    found = await where(unit, it.disk)
    if found is not None:
        await allocation.release(unit, *found, claim_key(snapshot_uuid))
