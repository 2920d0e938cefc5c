"""Volume snapshot group: snapshots of all volumes of a VM, taken at one moment, and reverted to together (SNP-03)."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource


class GroupMember(msgspec.Struct, frozen=True, omit_defaults=True):
    """One snapshot of the group; deleted: it was, on its own."""

    volume_snapshot_uuid: str
    volume_uuid: str
    device_id: int = 0
    deleted: bool = False


class VolumeSnapshotGroup(Resource, kind="volume_snapshot_group"):
    """It holds names only: its snapshots are as good alone."""

    goes_with_owner = False

    vm_instance_uuid: str = ""
    members: tuple[GroupMember, ...] = ()

    class Created(Creation):
        """A VM with all its volumes is to be captured."""

        zone_uuid: str
        vm_instance_uuid: str
        members: tuple[GroupMember, ...] = ()

    class MemberDeleted(Event):
        """One of its snapshots is gone; the group cannot be reverted to any more."""

        volume_snapshot_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.members = tuple(
                msgspec.structs.replace(m, deleted=True) if m.volume_snapshot_uuid == self.volume_snapshot_uuid else m
                for m in aggregate.members
            )

    def create(
        self,
        *,
        name: str,
        vm_instance_uuid: str,
        zone_uuid: str,
        members: tuple[GroupMember, ...],
        description: str = "",
    ) -> None:
        """With its snapshots, which are planned in the same unit."""
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                vm_instance_uuid=vm_instance_uuid,
                members=members,
            )
        )

    @property
    def snapshot_count(self) -> int:
        """How many of its snapshots are left."""
        return sum(not member.deleted for member in self.members)

    def member_deleted(self, volume_snapshot_uuid: str) -> None:
        """The last one takes the group with it."""
        if any(m.volume_snapshot_uuid == volume_snapshot_uuid and not m.deleted for m in self.members):
            self.trigger(self.MemberDeleted(volume_snapshot_uuid=volume_snapshot_uuid))
            if not self.snapshot_count:
                self.remove()
