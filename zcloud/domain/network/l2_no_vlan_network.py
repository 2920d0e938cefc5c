"""L2NoVlanNetwork: untagged, a bridge on the given device of each host (L2-02)."""

from __future__ import annotations

from zcloud.domain.network.l2_network import L2Network
from zcloud.kernel.resource import Creation


class L2NoVlanNetwork(L2Network, kind="l2_no_vlan_network"):
    """One per device: a device is the port of one bridge."""

    class Created(Creation):
        """The network was described; hosts get it when it is attached to their cluster."""

        zone_uuid: str
        physical_interface: str
        type: str = "L2NoVlanNetwork"

    def create(self, *, name: str, zone_uuid: str, physical_interface: str, description: str = "") -> None:
        """physical_interface: the device's name, the same on every host."""
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                physical_interface=physical_interface,
            )
        )
