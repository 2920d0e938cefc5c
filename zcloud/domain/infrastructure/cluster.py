"""Cluster: hosts that are alike, a rack (CLU-01..06); storages and networks are attached to it, not to hosts."""

from __future__ import annotations

from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Switched

HYPERVISORS = ("KVM", "Simulator")


class Cluster(Switched, kind="cluster"):
    """All its hosts have one hypervisor type. What is attached to it is known by the storage or network."""

    parents = {"zone": "zone_uuid"}  # noqa: RUF012
    delete_workflow = "delete_resource"

    hypervisor_type: str = "KVM"

    class Created(Creation):
        """A cluster was made in a zone."""

        zone_uuid: str
        hypervisor_type: str = "KVM"

    def create(self, *, name: str, zone_uuid: str, hypervisor_type: str = "KVM", description: str = "") -> None:
        """Make it, enabled."""
        if hypervisor_type not in HYPERVISORS:
            raise invalid("hypervisor_type", hypervisor_type, f"must be one of {', '.join(HYPERVISORS)}")
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                hypervisor_type=hypervisor_type,
            )
        )

    def must_take(self, hypervisor_type: str) -> None:
        """Refuses a host of another hypervisor type."""
        if hypervisor_type != self.hypervisor_type:
            raise precondition(
                Reason.NOT_SUPPORTED,
                f'cluster "{self.name}" holds {self.hypervisor_type} hosts, not {hypervisor_type} ones',
                hypervisor_type=self.hypervisor_type,
            )


class ClusterAttachments(Companion, of="cluster", role="attachments"):
    """What is attached to a cluster, as the cluster shows it; the storage or network decides, in the same append."""

    primary_storage_uuids: tuple[str, ...] = ()
    l2_network_uuids: tuple[str, ...] = ()

    class PrimaryStorageAttached(Event):
        """The cluster's hosts may keep volumes there."""

        primary_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.primary_storage_uuids = (*aggregate.primary_storage_uuids, self.primary_storage_uuid)

    class PrimaryStorageDetached(Event):
        """They no longer may."""

        primary_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            kept = tuple(u for u in aggregate.primary_storage_uuids if u != self.primary_storage_uuid)
            aggregate.primary_storage_uuids = kept

    class L2NetworkAttached(Event):
        """The cluster's hosts may connect VMs to it."""

        l2_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.l2_network_uuids = (*aggregate.l2_network_uuids, self.l2_network_uuid)

    class L2NetworkDetached(Event):
        """They no longer may."""

        l2_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.l2_network_uuids = tuple(u for u in aggregate.l2_network_uuids if u != self.l2_network_uuid)

    def attach_primary_storage(self, uuid: str) -> None:
        """Attaching again is no event."""
        if uuid not in self.primary_storage_uuids:
            self.trigger(self.PrimaryStorageAttached(primary_storage_uuid=uuid))

    def detach_primary_storage(self, uuid: str) -> None:
        """What is not attached needs no event."""
        if uuid in self.primary_storage_uuids:
            self.trigger(self.PrimaryStorageDetached(primary_storage_uuid=uuid))

    def attach_l2_network(self, uuid: str) -> None:
        """Attaching again is no event."""
        if uuid not in self.l2_network_uuids:
            self.trigger(self.L2NetworkAttached(l2_network_uuid=uuid))

    def detach_l2_network(self, uuid: str) -> None:
        """What is not attached needs no event."""
        if uuid in self.l2_network_uuids:
            self.trigger(self.L2NetworkDetached(l2_network_uuid=uuid))
