"""Volume snapshot tree: a run of snapshots that lie on each other; the current one is where the next will stand."""

from __future__ import annotations

import enum

from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource


class TreeStatus(enum.Enum):
    """Completed when its first snapshot is there."""

    CREATING = "Creating"
    COMPLETED = "Completed"


class VolumeSnapshotTree(Resource, kind="volume_snapshot_tree"):
    """A volume has a new one when the newest snapshot is as far from its root as may be, or none is left."""

    goes_with_owner = False

    volume_uuid: str = ""
    current: bool = False
    status: TreeStatus = TreeStatus.CREATING

    class Created(Creation):
        """Its first snapshot was asked for."""

        zone_uuid: str
        volume_uuid: str

    class Completed(Event):
        """Its first snapshot is there."""

        status: TreeStatus = TreeStatus.COMPLETED

    class CurrentChanged(Event):
        """Whether the next snapshot will stand in it."""

        current: bool

    def create(self, name: str, volume_uuid: str, zone_uuid: str) -> None:
        """With its first snapshot."""
        self.trigger(
            self.Created(name=name, account_uuid=self.account_uuid, zone_uuid=zone_uuid, volume_uuid=volume_uuid)
        )

    def completed(self) -> None:
        """Saying so again is no event."""
        if self.status is not TreeStatus.COMPLETED:
            self.trigger(self.Completed())

    def set_current(self, current: bool) -> None:
        """The same again is no event."""
        if current is not self.current:
            self.trigger(self.CurrentChanged(current=current))
