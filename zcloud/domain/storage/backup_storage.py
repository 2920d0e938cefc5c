"""Backup storage: where images lie (BS-01). Capacity and status have streams of their own."""

from __future__ import annotations

from typing import Any

from zcloud.domain.storage.networks import must_be_network
from zcloud.domain.storage.percent import InPercent
from zcloud.domain.storage.status import Status, StorageStatus
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import State, Switched


class BackupStorage(Switched, kind="backup_storage", abstract=True):
    """What all kinds have in common. A zone's hosts may use it when it is attached to the zone (BS-03)."""

    delete_workflow = "delete_resource"

    type: str = ""
    url: str = ""
    attached_zone_uuids: tuple[str, ...] = ()
    # Hosts come to it by its server's address there; by its hostname when empty.
    data_network_cidr: str = ""
    # Bytes that its images may take; 0: as many as there are.
    quota: int = 0

    class DataNetworkChanged(Event):
        """Hosts come to it by another network."""

        data_network_cidr: str

    class Attached(Event):
        """A zone may use its images."""

        zone_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.attached_zone_uuids = (*aggregate.attached_zone_uuids, self.zone_uuid)

    class Detached(Event):
        """It no longer may."""

        zone_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.attached_zone_uuids = tuple(u for u in aggregate.attached_zone_uuids if u != self.zone_uuid)

    def change_data_network(self, cidr: str | None) -> None:
        """None, or the same again, is no event. Empty: by its hostname."""
        if cidr:
            must_be_network("data_network_cidr", cidr)
        if cidr is not None and cidr != self.data_network_cidr:
            self.trigger(self.DataNetworkChanged(data_network_cidr=cidr))

    def attach(self, zone_uuid: str) -> None:
        """To a zone, once; it may be attached to several."""
        if zone_uuid in self.attached_zone_uuids:
            text = f'backup storage "{self.name}" is attached to zone {zone_uuid} already'
            raise precondition(Reason.ALREADY_ATTACHED, text, zone_uuid=zone_uuid)
        self.trigger(self.Attached(zone_uuid=zone_uuid))

    def detach(self, zone_uuid: str) -> None:
        """From a zone that it is attached to."""
        if zone_uuid not in self.attached_zone_uuids:
            text = f'backup storage "{self.name}" is not attached to zone {zone_uuid}'
            raise precondition(Reason.NOT_ATTACHED, text, zone_uuid=zone_uuid)
        self.trigger(self.Detached(zone_uuid=zone_uuid))


class BackupStorageStatus(StorageStatus, of="backup_storage", role="status"):
    """Connecting (no operations), Connected, Disconnected (no operations) (BS-09)."""

    # Of its server, on all networks.
    addresses: tuple[str, ...] = ()

    class AddressesFound(Event):
        """The server has said where it can be reached."""

        addresses: tuple[str, ...]

    def found_at(self, addresses: tuple[str, ...]) -> None:
        """The same again is no event, nor is what was not said."""
        if addresses and addresses != self.addresses:
            self.trigger(self.AddressesFound(addresses=addresses))


class BackupStorageCapacity(InPercent, Companion, of="backup_storage", role="capacity"):
    """Total, and the images that lie there: available is the total without the images' real sizes (BS-07)."""

    total_capacity: int = 0
    # Bytes free in the file system when it was last measured.
    physical_capacity: int = 0
    # By image; 0 while it is on its way, since its size is not known before it has come.
    images: dict[str, int] = {}  # noqa: RUF012 - replaced by folds
    # Something went since what is left of it was last cleaned away.
    reclaimable: bool = False

    class Measured(Event):
        """The server has said what it has."""

        total_capacity: int
        physical_capacity: int

    class Expected(Event):
        """An image is on its way."""

        image_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.images = {**aggregate.images, self.image_uuid: 0}

    class Stored(Event):
        """An image has come; its file is this big."""

        image_uuid: str
        size: int

        def apply(self, aggregate: Any) -> None:
            aggregate.images = {**aggregate.images, self.image_uuid: self.size}

    class Freed(Event):
        """An image lies there no longer."""

        image_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.images = {u: size for u, size in aggregate.images.items() if u != self.image_uuid}
            aggregate.reclaimable = True

    class ReclaimBegun(Event):
        """What is left of what went until now is cleaned away."""

        def apply(self, aggregate: Any) -> None:
            aggregate.reclaimable = False

    class ReclaimFailed(Event):
        """It still lies there."""

        def apply(self, aggregate: Any) -> None:
            aggregate.reclaimable = True

    @property
    def available_capacity(self) -> int:
        """Bytes not taken by images."""
        return max(0, self.total_capacity - self.used)

    @property
    def used(self) -> int:
        """Bytes that images take."""
        return sum(self.images.values())

    def room(self, reserved: int, quota: int = 0) -> int:
        """Bytes that the next image may have. quota: bytes for all of them; 0: as many as there are."""
        room = min(self.available_capacity, self.physical_capacity) - reserved
        return max(0, min(room, quota - self.used) if quota else room)

    def measured(self, total: int, physical: int) -> None:
        """The same again is no event."""
        if (total, physical) != (self.total_capacity, self.physical_capacity):
            self.trigger(self.Measured(total_capacity=total, physical_capacity=physical))

    def expect(self, image_uuid: str) -> None:
        """An image will come."""
        if image_uuid not in self.images:
            self.trigger(self.Expected(image_uuid=image_uuid))

    def store(self, image_uuid: str, size: int) -> None:
        """An image has come."""
        if self.images.get(image_uuid) != size:
            self.trigger(self.Stored(image_uuid=image_uuid, size=size))

    def begin_reclaim(self) -> None:
        """Where nothing is known to lie, there may be something all the same; that needs no event."""
        if self.reclaimable:
            self.trigger(self.ReclaimBegun())

    def fail_reclaim(self) -> None:
        """The next look finds it."""
        if not self.reclaimable:
            self.trigger(self.ReclaimFailed())

    def free(self, image_uuid: str) -> None:
        """An image is gone; what is not there needs no event."""
        if image_uuid in self.images:
            self.trigger(self.Freed(image_uuid=image_uuid))


class BackupStorageLeftovers(Companion, of="backup_storage", role="leftovers"):
    """Files that are nothing's any more, and lie there because the storage was away when they should have gone."""

    # Paths, in the order in which they were left.
    leftovers: tuple[str, ...] = ()

    class Left(Event):
        """A file could not be removed."""

        path: str

        def apply(self, aggregate: Any) -> None:
            aggregate.leftovers = (*aggregate.leftovers, self.path)

    class Cleared(Event):
        """It is gone, or is something's again."""

        path: str

        def apply(self, aggregate: Any) -> None:
            aggregate.leftovers = tuple(path for path in aggregate.leftovers if path != self.path)

    def leave(self, path: str) -> None:
        """Leave it for the next connect."""
        if path not in self.leftovers:
            self.trigger(self.Left(path=path))

    def clear(self, path: str) -> None:
        """Nothing is left of it; what was not left needs no event."""
        if path in self.leftovers:
            self.trigger(self.Cleared(path=path))


def unusable(storage: BackupStorage, status: BackupStorageStatus) -> str:
    """Why no bits may be moved there; empty when they may (BS-08, BS-09)."""
    if storage.state is not State.ENABLED:
        return f'backup storage "{storage.name}" is {storage.state.value}; enable it first'
    if status.status is not Status.CONNECTED:
        why = f" ({status.status_reason})" if status.status_reason else ""
        return f'backup storage "{storage.name}" is {status.status.value}{why}; reconnect it first'
    return ""


def must_move_bits(storage: BackupStorage, status: BackupStorageStatus) -> None:
    """Refuses unless the storage is Enabled and Connected."""
    text = unusable(storage, status)
    if text:
        reason = Reason.WRONG_STATUS if storage.state is State.ENABLED else Reason.WRONG_STATE
        raise precondition(reason, text, backup_storage_uuid=storage.uuid)
