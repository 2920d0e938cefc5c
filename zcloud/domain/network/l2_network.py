"""L2 network: a broadcast domain, reached on hosts by a device of one name and a bridge on it (L2-01, CLU-05)."""

from __future__ import annotations

import hashlib
from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Resource


def bridge_of(l2_network_uuid: str) -> str:
    """The bridge's name on every host. Hashed: callers may choose uuids that begin alike, and names are short."""
    return "zb" + hashlib.sha256(l2_network_uuid.encode()).hexdigest()[:10]


class L2Network(Resource, kind="l2_network", abstract=True):
    """What all kinds of L2 network have in common."""

    parents = {"zone": "zone_uuid"}  # noqa: RUF012
    delete_workflow = "delete_resource"

    physical_interface: str = ""
    type: str = ""


class L2Attachments(Companion, of="l2_network", role="attachments"):
    """Where VMs may use the network, and where it is on its way there: clusters by uuid."""

    attached_cluster_uuids: tuple[str, ...] = ()
    attaching: tuple[str, ...] = ()

    class AttachBegun(Event):
        """The cluster's hosts are getting the bridge."""

        cluster_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.attaching = (*aggregate.attaching, self.cluster_uuid)

    class Attached(Event):
        """Every connected host of the cluster has the bridge."""

        cluster_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.attaching = _without(aggregate.attaching, self.cluster_uuid)
            aggregate.attached_cluster_uuids = (*aggregate.attached_cluster_uuids, self.cluster_uuid)

    class Detached(Event):
        """No VM of the cluster may use it from now on; or it never came to that."""

        cluster_uuid: str
        reason: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.attaching = _without(aggregate.attaching, self.cluster_uuid)
            aggregate.attached_cluster_uuids = _without(aggregate.attached_cluster_uuids, self.cluster_uuid)

    def begin(self, cluster_uuid: str) -> None:
        """The attaching has begun; twice is refused."""
        if cluster_uuid in (*self.attached_cluster_uuids, *self.attaching):
            raise precondition(
                Reason.ALREADY_ATTACHED,
                f"L2 network {self.uuid} is attached to cluster {cluster_uuid} already, or a job is at that",
                cluster_uuid=cluster_uuid,
            )
        self.trigger(self.AttachBegun(cluster_uuid=cluster_uuid))

    def must_hold(self, cluster_uuid: str) -> None:
        """Refuses what is not attached."""
        if cluster_uuid not in self.attached_cluster_uuids:
            raise precondition(
                Reason.NOT_ATTACHED,
                f"L2 network {self.uuid} is not attached to cluster {cluster_uuid}",
                cluster_uuid=cluster_uuid,
            )

    def attached(self, cluster_uuid: str) -> None:
        """It is ready for VMs; saying so again is no event."""
        if cluster_uuid not in self.attached_cluster_uuids:
            self.trigger(self.Attached(cluster_uuid=cluster_uuid))

    def detached(self, cluster_uuid: str, reason: str = "") -> None:
        """It no longer is."""
        if cluster_uuid in (*self.attached_cluster_uuids, *self.attaching):
            self.trigger(self.Detached(cluster_uuid=cluster_uuid, reason=reason))


def _without(items: tuple[str, ...], item: str) -> tuple[str, ...]:
    return tuple(i for i in items if i != item)
