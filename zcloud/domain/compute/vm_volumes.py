"""Which data volumes a VM has: written in the append that attaches or detaches one (VOL-02)."""

from __future__ import annotations

from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class VmVolumes(Companion, of="vm_instance", role="volumes"):
    """In the order in which they were attached."""

    data_volume_uuids: tuple[str, ...] = ()

    class Attached(Event):
        """It has this volume from now on."""

        volume_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.data_volume_uuids = (*aggregate.data_volume_uuids, self.volume_uuid)

    class Detached(Event):
        """It has it no longer."""

        volume_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.data_volume_uuids = tuple(u for u in aggregate.data_volume_uuids if u != self.volume_uuid)

    def attach(self, volume_uuid: str) -> None:
        """Having it already is no event."""
        if volume_uuid not in self.data_volume_uuids:
            self.trigger(self.Attached(volume_uuid=volume_uuid))

    def detach(self, volume_uuid: str) -> None:
        """Not having it is no event."""
        if volume_uuid in self.data_volume_uuids:
            self.trigger(self.Detached(volume_uuid=volume_uuid))
