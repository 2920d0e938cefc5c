"""Volume snapshot: what a volume held at a moment (SNP-01). How far it is, and its file, are facts beside it."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.domain.storage.volume import VolumeType
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, State, Switched


class SnapshotType(enum.Enum):
    """Hypervisor: a file in a chain. Storage: taken by the storage itself."""

    HYPERVISOR = "Hypervisor"
    STORAGE = "Storage"


class SnapshotStatus(enum.Enum):
    """Only a Ready one can be used."""

    CREATING = "Creating"
    READY = "Ready"
    DELETING = "Deleting"


class VolumeSnapshot(Switched, kind="volume_snapshot"):
    """vm_instance_uuid: of the VM that had the volume when it was taken. Disabled: it cannot be reverted to."""

    # It goes with its volume, which goes with its owner.
    goes_with_owner = False

    volume_uuid: str = ""
    volume_type: VolumeType = VolumeType.ROOT
    vm_instance_uuid: str = ""
    group_uuid: str = ""
    type: SnapshotType = SnapshotType.HYPERVISOR
    format: str = "qcow2"

    class Created(Creation):
        """A snapshot was asked for."""

        zone_uuid: str
        volume_uuid: str
        volume_type: VolumeType
        vm_instance_uuid: str = ""
        group_uuid: str = ""
        type: SnapshotType = SnapshotType.HYPERVISOR
        format: str = "qcow2"

    class Ungrouped(Event):
        """It stands alone from now on."""

        def apply(self, aggregate: Any) -> None:
            aggregate.group_uuid = ""

    def create(
        self,
        *,
        name: str,
        volume_uuid: str,
        volume_type: VolumeType,
        zone_uuid: str,
        description: str = "",
        vm_instance_uuid: str = "",
        group_uuid: str = "",
    ) -> None:
        """Plan it; it is taken by a job."""
        self.trigger(
            self.Created(
                name=name[:255],
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                volume_uuid=volume_uuid,
                volume_type=volume_type,
                vm_instance_uuid=vm_instance_uuid,
                group_uuid=group_uuid,
            )
        )

    def ungroup(self) -> None:
        """Standing alone already is no event."""
        if self.group_uuid:
            self.trigger(self.Ungrouped())

    def must_be_enabled(self) -> None:
        """Refuses what a disabled one is not good for."""
        if self.state is not State.ENABLED:
            text = f'snapshot "{self.name}" is {self.state.value}; enable it first'
            raise precondition(Reason.WRONG_STATE, text, state=self.state.value)


class VolumeSnapshotFacts(Companion, of="volume_snapshot", role="facts"):
    """size: bytes that its file takes. volume_size: bytes that the guest saw. distance: from the root of its tree."""

    status: SnapshotStatus = SnapshotStatus.CREATING
    tree_uuid: str = ""
    parent_uuid: str = ""
    distance: int = 0
    latest: bool = False
    size: int = 0
    volume_size: int = 0
    install_path: str = ""
    primary_storage_uuid: str = ""
    host_uuid: str = ""
    # The guest had written out all that it held, by its agent.
    quiesced: bool = False

    class Planned(Event):
        """Its place in a tree."""

        tree_uuid: str
        parent_uuid: str = ""
        distance: int = 0

    class Taken(Event):
        """It is there, and the newest of its volume."""

        size: int
        volume_size: int
        install_path: str
        primary_storage_uuid: str
        host_uuid: str
        quiesced: bool = False

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            aggregate.status, aggregate.latest = SnapshotStatus.READY, True

    class LatestChanged(Event):
        """Whether the next one will lie on it."""

        latest: bool

    class Moved(Event):
        """What lay below it was merged with it."""

        parent_uuid: str
        install_path: str
        size: int

    class DeletionBegun(Event):
        """A job removes it."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = SnapshotStatus.DELETING

    class DeletionAborted(Event):
        """It stays."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = SnapshotStatus.READY

    def plan(self, tree_uuid: str, parent_uuid: str, distance: int) -> None:
        """Where it will stand."""
        self.trigger(self.Planned(tree_uuid=tree_uuid, parent_uuid=parent_uuid, distance=distance))

    def set_latest(self, latest: bool) -> None:
        """The same again is no event."""
        if latest is not self.latest:
            self.trigger(self.LatestChanged(latest=latest))

    def begin_deletion(self) -> None:
        """Nobody uses it from now on."""
        self.trigger(self.DeletionBegun())

    def abort_deletion(self) -> None:
        """Not being deleted is no event."""
        if self.status is SnapshotStatus.DELETING:
            self.trigger(self.DeletionAborted())

    def must_be_ready(self, snapshot: VolumeSnapshot, what: str) -> None:
        """Refuses one that is coming or going."""
        if self.status is not SnapshotStatus.READY:
            text = f'snapshot "{snapshot.name}" is {self.status.value}; only a Ready one can be {what}'
            raise precondition(Reason.WRONG_STATUS, text, status=self.status.value)
