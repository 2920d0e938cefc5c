"""Volume: a disk of a VM (VOL-01). Where it lies and how far it is are facts in a stream beside it."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource, State


class VolumeType(enum.Enum):
    """A VM boots from its root volume; data volumes can be attached and detached."""

    ROOT = "Root"
    DATA = "Data"


class VolumeState(enum.Enum):
    """How far a volume is."""

    NOT_INSTANTIATED = "NotInstantiated"
    CREATING = "Creating"
    READY = "Ready"
    DELETED = "Deleted"
    MIGRATING = "Migrating"


class Volume(Resource, kind="volume"):
    """size: bytes that the guest sees. The root volume has device id 0 and is always Enabled."""

    parents = {"primary_storage": "primary_storage_uuid"}  # noqa: RUF012

    state: State = State.ENABLED
    type: VolumeType = VolumeType.ROOT
    vm_instance_uuid: str = ""
    image_uuid: str = ""
    size: int = 0
    format: str = "qcow2"
    device_id: int = 0

    class Created(Creation):
        """A volume was planned; the file comes later."""

        zone_uuid: str
        type: VolumeType
        vm_instance_uuid: str
        image_uuid: str
        size: int
        format: str = "qcow2"
        device_id: int = 0

    def create_root(self, *, vm_instance_uuid: str, vm_name: str, zone_uuid: str, image_uuid: str, size: int) -> None:
        """The disk that a VM boots from, a thin copy of an image."""
        self.trigger(
            self.Created(
                name=f"ROOT-for-{vm_name}"[:255],
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                type=VolumeType.ROOT,
                vm_instance_uuid=vm_instance_uuid,
                image_uuid=image_uuid,
                size=size,
            )
        )


class VolumeStatus(Companion, of="volume", role="status"):
    """Whether the file is there, and where. host_uuid: whose disk it lies on, where the storage is local."""

    status: VolumeState = VolumeState.NOT_INSTANTIATED
    primary_storage_uuid: str = ""
    host_uuid: str = ""
    install_path: str = ""
    actual_size: int = 0

    class Created(Event):
        """The volume is a record; no storage holds anything of it."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = VolumeState.NOT_INSTANTIATED
            aggregate.primary_storage_uuid = aggregate.host_uuid = aggregate.install_path = ""
            aggregate.actual_size = 0

    class Placed(Event):
        """A storage has room for it, and the file is being made."""

        primary_storage_uuid: str
        host_uuid: str
        install_path: str

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            aggregate.status = VolumeState.CREATING

    class Displaced(Event):
        """The file could not be made; the volume is a record again."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = VolumeState.NOT_INSTANTIATED
            aggregate.primary_storage_uuid = aggregate.host_uuid = aggregate.install_path = ""

    class Instantiated(Event):
        """The file is there."""

        actual_size: int = 0

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.actual_size = VolumeState.READY, self.actual_size

    class Deleted(Event):
        """In the recycle bin; the file is still there and takes room (VM-05)."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = VolumeState.DELETED

    class Recovered(Event):
        """Back from the recycle bin."""

        def apply(self, aggregate: Any) -> None:
            there = bool(aggregate.install_path)
            aggregate.status = VolumeState.READY if there else VolumeState.NOT_INSTANTIATED

    def created(self) -> None:
        """A record, for now."""
        self.trigger(self.Created())

    def place(self, primary_storage_uuid: str, host_uuid: str, install_path: str) -> None:
        """Room was claimed for it; the caller did that in the same unit."""
        if self.status is not VolumeState.NOT_INSTANTIATED:
            text = f"volume {self.uuid} is {self.status.value} and lies on a storage already"
            raise precondition(Reason.WRONG_STATUS, text, status=self.status.value)
        self.trigger(
            self.Placed(primary_storage_uuid=primary_storage_uuid, host_uuid=host_uuid, install_path=install_path)
        )

    def displace(self) -> None:
        """Nothing of it is left on the storage."""
        if self.status in (VolumeState.CREATING, VolumeState.READY):
            self.trigger(self.Displaced())

    def instantiated(self, actual_size: int) -> None:
        """A host has made the file; saying so again is no event."""
        if self.status is VolumeState.CREATING:
            self.trigger(self.Instantiated(actual_size=actual_size))

    def delete(self) -> None:
        """Into the recycle bin, with its VM."""
        if self.status is not VolumeState.DELETED:
            self.trigger(self.Deleted())

    def recover(self) -> None:
        """Out of it again."""
        if self.status is VolumeState.DELETED:
            self.trigger(self.Recovered())
