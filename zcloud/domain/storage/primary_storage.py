"""Primary storage: where volumes and cached images lie (PS-01). Capacity and status have streams of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from zcloud.domain.storage.claimed import is_volume, share_of
from zcloud.domain.storage.networks import must_be_network
from zcloud.domain.storage.percent import InPercent, percent
from zcloud.domain.storage.primary_storage_state import SERVES, TABLE, PrimaryStorageEvent, PrimaryStorageState
from zcloud.domain.storage.status import Status, StorageStatus
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Resource


class PrimaryStorage(Resource, kind="primary_storage", abstract=True):
    """What all kinds have in common. It is used by the hosts of the clusters it is attached to."""

    parents = {"zone": "zone_uuid"}  # noqa: RUF012
    delete_workflow = "delete_resource"
    # Whether its hosts see the same files, so that a VM may run on any of them.
    spans_hosts: ClassVar[bool] = False
    # Whether primaryStorage/overProvisioning.ratio is heeded.
    overprovisions: ClassVar[bool] = True

    state: PrimaryStorageState = PrimaryStorageState.ENABLED
    state_before: PrimaryStorageState = PrimaryStorageState.ENABLED
    type: str = ""
    url: str = ""
    attached_cluster_uuids: tuple[str, ...] = ()
    # By which hosts reach it; empty: by whatever way there is (PS-05).
    storage_network_cidr: str = ""

    @property
    def directory(self) -> str:
        """Where its files lie on a host."""
        return self.url

    class StateChanged(Event):
        """Enabled, Disabled or in Maintenance by an administrator."""

        state: PrimaryStorageState

    class StorageNetworkChanged(Event):
        """Hosts reach it by another network."""

        storage_network_cidr: str

    class Attached(Event):
        """The hosts of a cluster may keep volumes there."""

        cluster_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.attached_cluster_uuids = (*aggregate.attached_cluster_uuids, self.cluster_uuid)

    class Detached(Event):
        """They no longer may."""

        cluster_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.attached_cluster_uuids = tuple(
                u for u in aggregate.attached_cluster_uuids if u != self.cluster_uuid
            )

    class DeletionBegun(Resource.DeletionBegun):
        """Shown as Deleting until the job has ended."""

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            aggregate.state_before, aggregate.state = aggregate.state, PrimaryStorageState.DELETING

    class DeletionAborted(Resource.DeletionAborted):
        """A failed delete leaves it as it was."""

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            aggregate.state = aggregate.state_before

    def update(
        self, *, name: str | None = None, description: str | None = None, storage_network_cidr: str | None = None
    ) -> None:
        """storage_network_cidr: empty for none. Saying what is already so is no event."""
        if storage_network_cidr:
            self.must_have_network()
            must_be_network("storage_network_cidr", storage_network_cidr)
        super().update(name=name, description=description)
        if storage_network_cidr is not None and storage_network_cidr != self.storage_network_cidr:
            self.trigger(self.StorageNetworkChanged(storage_network_cidr=storage_network_cidr))

    def must_have_network(self) -> None:
        """Refuses what is for storages that lie outside their hosts."""
        if not self.spans_hosts:
            text = f'primary storage "{self.name}" is {self.type}: what lies on a host is reached over no network'
            raise precondition(Reason.NOT_SUPPORTED, text, primary_storage_uuid=self.uuid)

    def change_state(self, state_event: str) -> None:
        """state_event: enable, disable or maintain, from every state but Deleting."""
        if self.state is PrimaryStorageState.DELETING:
            raise precondition(
                Reason.BEING_DELETED,
                f'primary storage "{self.name}" is being deleted by job {self.deleting_job}',
                job_uuid=self.deleting_job,
            )
        wanted = TABLE[self.state, PrimaryStorageEvent(state_event)]
        if wanted is not self.state:
            self.trigger(self.StateChanged(state=wanted))

    def must_serve(self, what: str) -> None:
        """Refuses what uses or removes files there. what: "volume x cannot be expunged"."""
        if self.state not in SERVES:
            text = f'{what}: primary storage "{self.name}", where it lies, is in {self.state.value}; enable it first'
            raise precondition(Reason.WRONG_STATE, text, primary_storage_uuid=self.uuid, state=self.state.value)

    def attach(self, cluster_uuid: str, zone_uuid: str) -> None:
        """To a cluster of its own zone, once."""
        if zone_uuid != self.zone_uuid:
            raise precondition(
                Reason.NOT_SAME_ZONE,
                f'primary storage "{self.name}" lies in zone {self.zone_uuid}, the cluster in zone {zone_uuid}',
                zone_uuid=self.zone_uuid,
            )
        if cluster_uuid in self.attached_cluster_uuids:
            text = f'primary storage "{self.name}" is attached to cluster {cluster_uuid} already'
            raise precondition(Reason.ALREADY_ATTACHED, text, cluster_uuid=cluster_uuid)
        self.trigger(self.Attached(cluster_uuid=cluster_uuid))

    def detach(self, cluster_uuid: str) -> None:
        """From a cluster that it is attached to."""
        if cluster_uuid not in self.attached_cluster_uuids:
            text = f'primary storage "{self.name}" is not attached to cluster {cluster_uuid}'
            raise precondition(Reason.NOT_ATTACHED, text, cluster_uuid=cluster_uuid)
        self.trigger(self.Detached(cluster_uuid=cluster_uuid))


class PrimaryStorageStatus(StorageStatus, of="primary_storage", role="status"):
    """A local storage is Connected while at least one host that has it is."""


class HostSpace(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one host brings to a storage, in bytes; reachable while the host is connected, and can use it.

    reason: why it cannot; empty where it is not connected.
    """

    total: int
    available: int
    reachable: bool = True
    reason: str = ""


class PrimaryStorageHost(msgspec.Struct, frozen=True):
    """How a host has the storage."""

    host_uuid: str
    status: Status
    reason: str = ""


class PrimaryStorageCapacity(InPercent, Companion, of="primary_storage", role="capacity"):
    """The sums over hosts. Written in the same append as the hosts' own books (HostStorage), so that they agree."""

    hosts: dict[str, HostSpace] = {}  # noqa: RUF012 - replaced by folds
    allocated: int = 0
    # By host, the part of it that volumes have claimed by their virtual size.
    virtual: dict[str, int] = {}  # noqa: RUF012 - replaced by folds
    # So much of the storage is given out to them.
    percent: int = 100
    # What each host brings is one and the same.
    shared: bool = False

    class HostMeasured(Event):
        """A host has the storage, and this much of it."""

        host_uuid: str
        total: int
        available: int
        shared: bool = False

        def apply(self, aggregate: Any) -> None:
            aggregate.shared = self.shared
            aggregate.hosts = {**aggregate.hosts, self.host_uuid: HostSpace(self.total, self.available)}

    class HostLost(Event):
        """The host is not connected, or (reason) cannot use the storage: what lies there cannot be used for now."""

        host_uuid: str
        reason: str = ""
        # Said of a storage that hosts share, where this one may not have had it before.
        shared: bool = False

        def apply(self, aggregate: Any) -> None:
            aggregate.shared = aggregate.shared or self.shared
            old = aggregate.hosts.get(self.host_uuid, HostSpace(0, 0))
            space = HostSpace(old.total, old.available, False, self.reason)
            aggregate.hosts = {**aggregate.hosts, self.host_uuid: space}

    class HostForgotten(Event):
        """The host is no longer one of the storage's. freed: bytes that were claimed there."""

        host_uuid: str
        freed: int = 0

        def apply(self, aggregate: Any) -> None:
            aggregate.hosts = {u: space for u, space in aggregate.hosts.items() if u != self.host_uuid}
            aggregate.virtual = {u: size for u, size in aggregate.virtual.items() if u != self.host_uuid}
            aggregate.allocated -= self.freed

    class Allocated(Event):
        """Something on a host needs this much."""

        host_uuid: str
        key: str
        size: int

        def apply(self, aggregate: Any) -> None:
            aggregate.allocated += self.size
            _fold_volume(aggregate, self.host_uuid, self.key, self.size)

    class Freed(Event):
        """It needs it no longer."""

        host_uuid: str
        key: str
        size: int

        def apply(self, aggregate: Any) -> None:
            aggregate.allocated -= self.size
            _fold_volume(aggregate, self.host_uuid, self.key, -self.size)

    class Overprovisioned(Event):
        """So many percent of it are given out to volumes from now on."""

        percent: int

    @property
    def total_capacity(self) -> int:
        """Bytes that there are to give out."""
        return self.total_physical_capacity

    @property
    def available_capacity(self) -> int:
        """Bytes not given out, volumes counted by their share of what is over-provisioned."""
        return max(0, self.total_capacity - self.used(self.percent))

    def used(self, percent: int) -> int:
        """Bytes that are given out, at this over-provisioning."""
        virtual = sum(self.virtual.values())
        return self.allocated - virtual + share_of(virtual, percent)

    @property
    def total_physical_capacity(self) -> int:
        """Bytes of the file systems."""
        return self._together(space.total for space in self.hosts.values())

    @property
    def available_physical_capacity(self) -> int:
        """Bytes that were free in them when each was measured."""
        return self._together(space.available for space in self.hosts.values())

    @property
    def used_physical_capacity_percent(self) -> float:
        """PS-04."""
        return percent(self.total_physical_capacity - self.available_physical_capacity, self.total_physical_capacity)

    def _together(self, sizes: Iterable[int]) -> int:
        return max(sizes, default=0) if self.shared else sum(sizes)

    @property
    def reachable(self) -> bool:
        """Whether any host that has the storage is connected."""
        return any(space.reachable for space in self.hosts.values())

    @property
    def why_unreachable(self) -> str:
        """Of those that are connected one says why it cannot use it."""
        reasons = [space.reason for space in self.hosts.values() if space.reason]
        return f"no host can use it: {reasons[0]}" if reasons else "no host that has it is connected"

    @property
    def host_statuses(self) -> tuple[PrimaryStorageHost, ...]:
        """Only where hosts see the same files: else a storage is as good as each of its hosts."""
        if not self.shared:
            return ()
        return tuple(
            PrimaryStorageHost(uuid, Status.CONNECTED)
            if space.reachable
            else PrimaryStorageHost(uuid, Status.DISCONNECTED, space.reason or "the host is not connected")
            for uuid, space in self.hosts.items()
        )

    @property
    def used_before(self) -> bool:
        """Whether any of its hosts has ever had it, and has left its mark there."""
        return any(space.total for space in self.hosts.values())

    def lacks(self, size: int, reserved: int, percent: int = 100) -> str:
        """Why there is no room for this many bytes on the whole; empty when there is."""
        left = self.total_capacity - self.used(percent) - reserved
        if size > left:
            return f"{max(0, left)} bytes left beside the reserve of {reserved}, {size} wanted"
        return ""

    def measured(self, host_uuid: str, total: int, available: int, *, shared: bool = False) -> None:
        """A host has said what it has; the same again is no event."""
        if self.hosts.get(host_uuid) != HostSpace(total, available):
            self.trigger(self.HostMeasured(host_uuid=host_uuid, total=total, available=available, shared=shared))

    def overprovisioned(self, percent: int) -> None:
        """What is claimed stays, also when that is more; the same is no event."""
        if percent != self.percent:
            self.trigger(self.Overprovisioned(percent=percent))

    def lost(self, host_uuid: str, reason: str = "") -> None:
        """A host is not connected any more, or for this reason cannot use it."""
        space = self.hosts.get(host_uuid)
        if space is not None and (space.reachable or (reason and reason != space.reason)):
            self.trigger(self.HostLost(host_uuid=host_uuid, reason=reason))

    def unusable(self, host_uuid: str, reason: str) -> None:
        """A host that shares it with others cannot use it, whether or not it ever could."""
        space = self.hosts.get(host_uuid)
        if space is None or space.reachable or space.reason != reason:
            self.trigger(self.HostLost(host_uuid=host_uuid, reason=reason, shared=True))

    def forget(self, host_uuid: str, freed: int) -> None:
        """A host is gone, or its cluster is detached."""
        if host_uuid in self.hosts or freed:
            self.trigger(self.HostForgotten(host_uuid=host_uuid, freed=freed))


def _fold_volume(aggregate: Any, host_uuid: str, key: str, grown: int) -> None:
    if is_volume(key):
        virtual = {**aggregate.virtual, host_uuid: aggregate.virtual.get(host_uuid, 0) + grown}
        aggregate.virtual = {host: size for host, size in virtual.items() if size}
