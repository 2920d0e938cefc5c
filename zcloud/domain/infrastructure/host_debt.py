"""Host debt: what was to be removed on a host that could not be reached; collected when the host is there again."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource

AGENT = "agent"


class OwedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is still there. owed_kind: vm_instance, volume, l3_network (a DHCP server), l2_network (a bridge), agent,
    primary_storage (its mount).

    device: of a bridge its port, of a DHCP server its bridge. paths: files of a volume, its own first; the directory
    of a mount.
    """

    owed_kind: str
    owed_uuid: str
    device: str = ""
    paths: tuple[str, ...] = ()
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Each is owed once."""
        return self.owed_kind, self.owed_uuid


class HostDebt(Resource, kind="host_debt"):
    """One for each host that owes anything. Its uuid follows from the host's, so that everybody adds to the same."""

    goes_with_owner = False

    zone_uuid: str = ""
    host_uuid: str = ""
    # By it a host that is added again is known.
    management_ip: str = ""
    items: tuple[OwedItem, ...] = ()

    class Created(Creation):
        """The first thing could not be removed."""

        zone_uuid: str
        host_uuid: str
        management_ip: str

    class Owed(Event):
        """Something stays there for now."""

        item: OwedItem

        def apply(self, aggregate: Any) -> None:
            aggregate.items = (*(i for i in aggregate.items if i.key != self.item.key), self.item)

    class Settled(Event):
        """It is gone, or is in use again."""

        owed_kind: str
        owed_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.items = tuple(i for i in aggregate.items if i.key != (self.owed_kind, self.owed_uuid))

    class WrittenOff(Event):
        """An administrator has said that nobody need see to it: the machine is scrapped."""

        items: tuple[OwedItem, ...] = ()

        def apply(self, aggregate: Any) -> None:
            aggregate.items = ()

    def create(self, *, name: str, zone_uuid: str, host_uuid: str, management_ip: str) -> None:
        """name: the host's."""
        self.trigger(
            self.Created(
                name=name,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                host_uuid=host_uuid,
                management_ip=management_ip,
            )
        )

    def owe(self, item: OwedItem) -> None:
        """Owing the same again is no event."""
        if all((i.key, i.device, i.paths) != (item.key, item.device, item.paths) for i in self.items):
            self.trigger(self.Owed(item=item))

    def settle(self, item: OwedItem) -> None:
        """With the last item the debt ends; what is not owed needs no event."""
        if all(i.key != item.key for i in self.items):
            return
        self.trigger(self.Settled(owed_kind=item.owed_kind, owed_uuid=item.owed_uuid))
        if not self.items:
            self.remove()

    def write_off(self) -> None:
        """Nothing is collected any more."""
        self.trigger(self.WrittenOff(items=self.items))
        self.remove()


def debt_uuids(host_uuid: str) -> Derived:
    """Of the debt of a host."""
    return derived("host_debt", host_uuid)
