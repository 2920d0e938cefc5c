"""Cluster: hosts that are alike, a rack (CLU-01..06); storages and networks are attached to it, not to hosts."""

from __future__ import annotations

from zcloud.kernel.errors import Reason, invalid, precondition
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
