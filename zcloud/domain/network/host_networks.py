"""What networks were made on a host, and what is still to be removed there once it can be reached."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class Bridge(msgspec.Struct, frozen=True):
    """A bridge of ours on the host. job_uuid: the job that last saw to it."""

    physical_interface: str
    job_uuid: str


class HostNetworks(Companion, of="host", role="networks"):
    """Facts from reports. Bridges by L2 network; they do not outlive a reboot, so each connect makes them again."""

    bridges: dict[str, Bridge] = {}  # noqa: RUF012 - replaced by folds
    # L3 networks that are gone, while their DHCP server may still run here.
    stale_dhcp: tuple[str, ...] = ()

    class BridgeApplied(Event):
        """The host has the bridge, or may have it."""

        l2_network_uuid: str
        bridge: Bridge

        def apply(self, aggregate: Any) -> None:
            aggregate.bridges = {**aggregate.bridges, self.l2_network_uuid: self.bridge}

    class BridgeRemoved(Event):
        """It has it no more."""

        l2_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.bridges = {k: v for k, v in aggregate.bridges.items() if k != self.l2_network_uuid}

    class DhcpLeftBehind(Event):
        """An L3 network was removed while the host could not be reached."""

        l3_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.stale_dhcp = (*aggregate.stale_dhcp, self.l3_network_uuid)

    class DhcpCleared(Event):
        """Its DHCP server was removed after all."""

        l3_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.stale_dhcp = tuple(u for u in aggregate.stale_dhcp if u != self.l3_network_uuid)

    def applied(self, l2_network_uuid: str, physical_interface: str, job_uuid: str) -> None:
        """The same job saying so again is no event."""
        bridge = Bridge(physical_interface, job_uuid)
        if self.bridges.get(l2_network_uuid) != bridge:
            self.trigger(self.BridgeApplied(l2_network_uuid=l2_network_uuid, bridge=bridge))

    def removed(self, l2_network_uuid: str) -> None:
        """What is not there needs no event."""
        if l2_network_uuid in self.bridges:
            self.trigger(self.BridgeRemoved(l2_network_uuid=l2_network_uuid))

    def left_behind(self, l3_network_uuid: str) -> None:
        """To be removed when the host comes back."""
        if l3_network_uuid not in self.stale_dhcp:
            self.trigger(self.DhcpLeftBehind(l3_network_uuid=l3_network_uuid))

    def cleared(self, l3_network_uuid: str) -> None:
        """Nothing is owed for it any more."""
        if l3_network_uuid in self.stale_dhcp:
            self.trigger(self.DhcpCleared(l3_network_uuid=l3_network_uuid))
