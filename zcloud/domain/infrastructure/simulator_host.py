"""Simulator host: exists only in the simulator; for scale tests, demos and capacity planning."""

from __future__ import annotations

from zcloud.domain.infrastructure.host import Host, must_be_address
from zcloud.kernel.resource import Creation


class SimulatorHost(Host, kind="simulator_host"):
    """Its agent is a simulator process, which dials in when it runs."""

    class Created(Creation):
        """A simulated host was added. memory_size: bytes."""

        zone_uuid: str
        cluster_uuid: str
        hypervisor_type: str = "Simulator"
        management_ip: str

    def create(
        self, *, name: str, cluster_uuid: str, zone_uuid: str, management_ip: str, description: str = ""
    ) -> None:
        """Add it; it is Connecting until its agent has connected."""
        must_be_address("management_ip", management_ip)
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                cluster_uuid=cluster_uuid,
                management_ip=management_ip,
            )
        )
