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
    # By network: the job that last saw to it that it is not here.
    cleared_by: dict[str, str] = {}  # noqa: RUF012

    class BridgeApplied(Event):
        """The host has the bridge, or may have it."""

        l2_network_uuid: str
        bridge: Bridge

        def apply(self, aggregate: Any) -> None:
            aggregate.bridges = {**aggregate.bridges, self.l2_network_uuid: self.bridge}
            aggregate.cleared_by = {k: v for k, v in aggregate.cleared_by.items() if k != self.l2_network_uuid}

    class Cleared(Event):
        """The bridge of an L2 network, or the DHCP server of an L3 network, is no longer here."""

        network_uuid: str
        job_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.bridges = {k: v for k, v in aggregate.bridges.items() if k != self.network_uuid}
            aggregate.stale_dhcp = tuple(u for u in aggregate.stale_dhcp if u != self.network_uuid)
            aggregate.cleared_by = {**aggregate.cleared_by, self.network_uuid: self.job_uuid}

    class DhcpLeftBehind(Event):
        """An L3 network was removed while the host could not be reached."""

        l3_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.stale_dhcp = (*aggregate.stale_dhcp, self.l3_network_uuid)

    def applied(self, l2_network_uuid: str, physical_interface: str, job_uuid: str) -> None:
        """The same job saying so again is no event."""
        bridge = Bridge(physical_interface, job_uuid)
        if self.bridges.get(l2_network_uuid) != bridge:
            self.trigger(self.BridgeApplied(l2_network_uuid=l2_network_uuid, bridge=bridge))

    def cleared(self, network_uuid: str, job_uuid: str) -> None:
        """A job has seen to it that the network is not here."""
        self.trigger(self.Cleared(network_uuid=network_uuid, job_uuid=job_uuid))

    def left_behind(self, l3_network_uuid: str) -> None:
        """To be removed when the host comes back."""
        if l3_network_uuid not in self.stale_dhcp:
            self.trigger(self.DhcpLeftBehind(l3_network_uuid=l3_network_uuid))

    def close(self) -> None:
        """The host is gone: one made anew under its uuid begins empty."""
        for network_uuid in (*self.bridges, *self.stale_dhcp):
            self.cleared(network_uuid, "")
