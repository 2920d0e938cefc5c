"""Which devices of a cluster's hosts are taken by which L2 network: each device is the port of one bridge (CLU-14)."""

from __future__ import annotations

from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event


class ClusterBridges(Companion, of="cluster", role="bridges"):
    """From the moment an attaching begins until a detaching is done; hosts that connect get what is not leaving."""

    interfaces: dict[str, str] = {}  # noqa: RUF012 - replaced by folds; L2 network to device
    leaving: tuple[str, ...] = ()

    class DeviceTaken(Event):
        """A network is attached through this device, or is about to be."""

        l2_network_uuid: str
        physical_interface: str

        def apply(self, aggregate: Any) -> None:
            aggregate.interfaces = {**aggregate.interfaces, self.l2_network_uuid: self.physical_interface}

    class DetachBegun(Event):
        """Hosts that connect from now on do not get it."""

        l2_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.leaving = (*aggregate.leaving, self.l2_network_uuid)

    class DetachAborted(Event):
        """It stays."""

        l2_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.leaving = tuple(u for u in aggregate.leaving if u != self.l2_network_uuid)

    class DeviceFreed(Event):
        """Another network may have the device."""

        l2_network_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.interfaces = {k: v for k, v in aggregate.interfaces.items() if k != self.l2_network_uuid}
            aggregate.leaving = tuple(u for u in aggregate.leaving if u != self.l2_network_uuid)

    @property
    def wanted(self) -> dict[str, str]:
        """Networks that every host shall have, with their devices."""
        return {uuid: device for uuid, device in self.interfaces.items() if uuid not in self.leaving}

    def take(self, l2_network_uuid: str, physical_interface: str) -> None:
        """Refuses a device that another network has."""
        other = next((u for u, device in self.interfaces.items() if device == physical_interface), "")
        if other and other != l2_network_uuid:
            raise precondition(
                Reason.OVERLAP,
                f"device {physical_interface} of cluster {self.uuid} is in use by L2 network {other}; "
                "detach that first, or use another device",
                l2_network_uuid=other,
            )
        if not other:
            self.trigger(self.DeviceTaken(l2_network_uuid=l2_network_uuid, physical_interface=physical_interface))

    def begin_detach(self, l2_network_uuid: str) -> None:
        """The network is on its way out."""
        if l2_network_uuid not in self.leaving:
            self.trigger(self.DetachBegun(l2_network_uuid=l2_network_uuid))

    def abort_detach(self, l2_network_uuid: str) -> None:
        """It did not come to that."""
        if l2_network_uuid in self.leaving:
            self.trigger(self.DetachAborted(l2_network_uuid=l2_network_uuid))

    def free(self, l2_network_uuid: str) -> None:
        """What has no device needs no event."""
        if l2_network_uuid in self.interfaces:
            self.trigger(self.DeviceFreed(l2_network_uuid=l2_network_uuid))
