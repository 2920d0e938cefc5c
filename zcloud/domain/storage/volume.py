"""Volume: a disk of a VM (VOL-01). Where it lies and how far it is are facts in a stream beside it."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, invalid, precondition
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
    delete_workflow = "delete_resource"
    shareable = False

    state: State = State.ENABLED
    type: VolumeType = VolumeType.ROOT
    vm_instance_uuid: str = ""
    image_uuid: str = ""
    size: int = 0
    format: str = "qcow2"
    device_id: int = 0
    disk_offering_uuid: str = ""

    class Created(Creation):
        """A volume was planned; the file comes later."""

        zone_uuid: str
        type: VolumeType
        vm_instance_uuid: str
        image_uuid: str
        size: int
        format: str = "qcow2"
        device_id: int = 0
        disk_offering_uuid: str = ""

    class StateChanged(Event):
        """Enabled or Disabled by its owner."""

        state: State

    class Attached(Event):
        """A VM has it, or will have it when its host has plugged it in."""

        vm_instance_uuid: str
        device_id: int
        # Of the VM, where the volume was in no zone yet.
        zone_uuid: str

    class Detached(Event):
        """No VM has it."""

        def apply(self, aggregate: Any) -> None:
            aggregate.vm_instance_uuid, aggregate.device_id = "", 0

    class Resized(Event):
        """The guest sees so many bytes from now on."""

        size: int

    class ImageChanged(Event):
        """It was made anew, from another image."""

        image_uuid: str

    class OfferingLost(Event):
        """The offering was deleted; the volume keeps its size."""

        def apply(self, aggregate: Any) -> None:
            aggregate.disk_offering_uuid = ""

    def create_root(
        self,
        *,
        vm_instance_uuid: str,
        vm_name: str,
        zone_uuid: str,
        image_uuid: str,
        size: int,
        disk_offering_uuid: str = "",
    ) -> None:
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
                disk_offering_uuid=disk_offering_uuid,
            )
        )

    def create_data(
        self,
        *,
        name: str,
        size: int,
        description: str = "",
        zone_uuid: str = "",
        disk_offering_uuid: str = "",
        vm_instance_uuid: str = "",
        device_id: int = 0,
        image_uuid: str = "",
    ) -> None:
        """An empty disk, or a thin copy of an image. vm_instance_uuid: of a VM that is made with it."""
        self.trigger(
            self.Created(
                name=name[:255],
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                type=VolumeType.DATA,
                vm_instance_uuid=vm_instance_uuid,
                image_uuid=image_uuid,
                size=size,
                device_id=device_id,
                disk_offering_uuid=disk_offering_uuid,
            )
        )

    def change_state(self, state_event: str) -> None:
        """state_event: enable or disable."""
        wanted = {"enable": State.ENABLED, "disable": State.DISABLED}[state_event]
        if self.type is VolumeType.ROOT and wanted is State.DISABLED:
            text = f'volume "{self.name}" is a root volume, which is always Enabled'
            raise precondition(Reason.NOT_SUPPORTED, text, volume_uuid=self.uuid)
        if wanted is not self.state:
            self.trigger(self.StateChanged(state=wanted))

    def must_be_free(self, what: str) -> None:
        """Refuses what is done to volumes that no VM has."""
        self.must_be_data(what)
        if self.vm_instance_uuid:
            text = f'volume "{self.name}" is attached to VM {self.vm_instance_uuid}; detach it before it is {what}'
            raise precondition(Reason.STILL_IN_USE, text, vm_instance_uuid=self.vm_instance_uuid)

    def must_be_data(self, what: str) -> None:
        """Refuses a root volume: it comes and goes with its VM."""
        if self.type is not VolumeType.DATA:
            text = f'volume "{self.name}" is a root volume, of VM {self.vm_instance_uuid}; only data volumes are {what}'
            raise precondition(Reason.NOT_SUPPORTED, text, vm_instance_uuid=self.vm_instance_uuid)

    def attach(self, vm_instance_uuid: str, device_id: int, zone_uuid: str) -> None:
        """To a VM of its owner; the caller has looked at that."""
        if self.state is not State.ENABLED:
            text = f'volume "{self.name}" is Disabled; enable it first'
            raise precondition(Reason.WRONG_STATE, text, state=self.state.value)
        if self.vm_instance_uuid:
            text = f'volume "{self.name}" is attached to VM {self.vm_instance_uuid} already'
            raise precondition(Reason.ALREADY_ATTACHED, text, vm_instance_uuid=self.vm_instance_uuid)
        if self.zone_uuid not in ("", zone_uuid):
            text = f'volume "{self.name}" lies in zone {self.zone_uuid}, the VM in zone {zone_uuid}'
            raise precondition(Reason.NOT_SAME_ZONE, text, zone_uuid=self.zone_uuid)
        self.trigger(self.Attached(vm_instance_uuid=vm_instance_uuid, device_id=device_id, zone_uuid=zone_uuid))

    def detach(self) -> None:
        """Being attached to none already is no event."""
        if self.vm_instance_uuid:
            self.trigger(self.Detached())

    def must_grow_to(self, size: int) -> None:
        """Refuses a size below what it has: what lies behind it would be lost."""
        if size < self.size:
            raise invalid("size", size, f"must not be less than the {self.size} bytes that it has; volumes only grow")

    def resized(self, size: int) -> None:
        """The same size again is no event."""
        if size != self.size:
            self.trigger(self.Resized(size=size))

    def change_image(self, image_uuid: str) -> None:
        """The same again is no event."""
        if image_uuid != self.image_uuid:
            self.trigger(self.ImageChanged(image_uuid=image_uuid))

    def lose_offering(self) -> None:
        """The reference is dropped, the size stays."""
        if self.disk_offering_uuid:
            self.trigger(self.OfferingLost())


class VolumeStatus(Companion, of="volume", role="status"):
    """Whether the file is there, and where. host_uuid: whose disk it lies on, where the storage is local."""

    status: VolumeState = VolumeState.NOT_INSTANTIATED
    primary_storage_uuid: str = ""
    host_uuid: str = ""
    install_path: str = ""
    actual_size: int = 0
    # When it came into the recycle bin.
    deleted_date: int = 0
    # What it stands on; empty for what was not made from an image.
    image_cache_uuid: str = ""

    class Created(Event):
        """The volume is a record; no storage holds anything of it."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = VolumeState.NOT_INSTANTIATED
            aggregate.primary_storage_uuid = aggregate.host_uuid = aggregate.install_path = ""
            aggregate.image_cache_uuid = ""
            aggregate.actual_size = aggregate.deleted_date = 0

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
            aggregate.image_cache_uuid = ""

    class Instantiated(Event):
        """The file is there."""

        actual_size: int = 0
        image_cache_uuid: str = ""

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            aggregate.status = VolumeState.READY

    class Based(Event):
        """It was made anew, and stands on another cached image, or on none; or was found to."""

        image_cache_uuid: str

    class Deleted(Event):
        """In the recycle bin; the file is still there and takes room (VM-05)."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = VolumeState.DELETED
            aggregate.deleted_date = aggregate.last_op_date

    class Recovered(Event):
        """Back from the recycle bin."""

        def apply(self, aggregate: Any) -> None:
            there = bool(aggregate.install_path)
            aggregate.status = VolumeState.READY if there else VolumeState.NOT_INSTANTIATED
            aggregate.deleted_date = 0

    class Moved(Event):
        """Another file is written to: a snapshot was taken, or reverted to."""

        install_path: str

    class HostChanged(Event):
        """Another host of its storage works on its file, and keeps its room in the books."""

        host_uuid: str

    class Measured(Event):
        """What its file takes on the disk."""

        actual_size: int

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

    def instantiated(self, actual_size: int, image_cache_uuid: str = "") -> None:
        """A host has made the file; saying so again is no event."""
        if self.status is VolumeState.CREATING:
            self.trigger(self.Instantiated(actual_size=actual_size, image_cache_uuid=image_cache_uuid))

    def based(self, image_cache_uuid: str) -> None:
        """The same again is no event."""
        if image_cache_uuid != self.image_cache_uuid:
            self.trigger(self.Based(image_cache_uuid=image_cache_uuid))

    def delete(self) -> None:
        """Into the recycle bin; a root volume goes there with its VM."""
        if self.status is not VolumeState.DELETED:
            self.trigger(self.Deleted())

    def recover(self) -> None:
        """Out of it again."""
        if self.status is VolumeState.DELETED:
            self.trigger(self.Recovered())

    def move(self, install_path: str) -> None:
        """The same file again is no event."""
        if install_path != self.install_path:
            self.trigger(self.Moved(install_path=install_path))

    def change_host(self, host_uuid: str) -> None:
        """The caller moves its room in the same unit; the same host again is no event."""
        if host_uuid != self.host_uuid:
            self.trigger(self.HostChanged(host_uuid=host_uuid))

    def measured(self, actual_size: int) -> None:
        """Its file was looked at; the same again is no event."""
        if actual_size != self.actual_size:
            self.trigger(self.Measured(actual_size=actual_size))

    def must_be(self, volume: Volume, what: str, *allowed: VolumeState) -> None:
        """Refuses what needs another status."""
        if self.status not in allowed:
            names = " or ".join(status.value for status in allowed)
            text = f'volume "{volume.name}" is {self.status.value}; only one that is {names} can be {what}'
            raise precondition(Reason.WRONG_STATUS, text, status=self.status.value)
