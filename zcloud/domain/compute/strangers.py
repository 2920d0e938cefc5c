"""VMs that a host runs and this cloud does not know: said once, and again only when they change."""

from __future__ import annotations

from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class HostStrangers(Companion, of="host", role="strangers"):
    """They take room that no book knows of; nothing is done to them."""

    vm_instance_uuids: tuple[str, ...] = ()

    class StrangersSeen(Event):
        """These run there; none: they are gone."""

        vm_instance_uuids: tuple[str, ...] = ()

        def apply(self, aggregate: Any) -> None:
            aggregate.vm_instance_uuids = self.vm_instance_uuids

    def seen(self, vm_instance_uuids: tuple[str, ...], *, complete: bool) -> None:
        """complete: there are no others."""
        now = vm_instance_uuids if complete else tuple(sorted({*self.vm_instance_uuids, *vm_instance_uuids}))
        if now != self.vm_instance_uuids:
            self.trigger(self.StrangersSeen(vm_instance_uuids=now))
