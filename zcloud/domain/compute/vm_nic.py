"""NICs of a VM with their addresses: given back when it is deleted, given anew when it starts after a recovery."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class VmNic(msgspec.Struct, frozen=True, omit_defaults=True):
    """One NIC. static_ip: the address that the user asked for, kept while the VM has none."""

    uuid: str
    l3_network_uuid: str
    mac: str
    device_id: int
    static_ip: str = ""
    ip_range_uuid: str = ""
    ip: str = ""
    netmask: str = ""
    gateway: str = ""


class VmNics(Companion, of="vm_instance", role="nics"):
    """In the order of their device ids; the default network's gateway is the guest's."""

    vm_nics: tuple[VmNic, ...] = ()
    default_l3_network_uuid: str = ""

    class Created(Event):
        """The NICs that the VM was created with."""

        vm_nics: tuple[VmNic, ...]
        default_l3_network_uuid: str

    class AddressAssigned(Event):
        """A NIC got an address of a range."""

        nic_uuid: str
        ip_range_uuid: str
        ip: str
        netmask: str
        gateway: str

        def apply(self, aggregate: Any) -> None:
            aggregate.replace(
                self.nic_uuid,
                ip_range_uuid=self.ip_range_uuid,
                ip=self.ip,
                netmask=self.netmask,
                gateway=self.gateway,
            )

    class AddressReleased(Event):
        """The address went back to its range."""

        nic_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.replace(self.nic_uuid, ip_range_uuid="", ip="", netmask="", gateway="")

    class Detached(Event):
        """Its network or its range is gone; a running guest loses the NIC at its next start."""

        nic_uuid: str
        default_l3_network_uuid: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.vm_nics = tuple(nic for nic in aggregate.vm_nics if nic.uuid != self.nic_uuid)
            aggregate.default_l3_network_uuid = self.default_l3_network_uuid

    def replace(self, nic_uuid: str, **fields: str) -> None:
        """Fold into one NIC."""
        self.vm_nics = tuple(
            msgspec.structs.replace(nic, **fields) if nic.uuid == nic_uuid else nic for nic in self.vm_nics
        )

    def create(self, vm_nics: tuple[VmNic, ...], default_l3_network_uuid: str) -> None:
        """All of them, with their addresses."""
        self.trigger(self.Created(vm_nics=vm_nics, default_l3_network_uuid=default_l3_network_uuid))

    def assign(self, nic_uuid: str, *, ip_range_uuid: str, ip: str, netmask: str, gateway: str) -> None:
        """An address that was allocated in the same unit."""
        self.trigger(
            self.AddressAssigned(
                nic_uuid=nic_uuid, ip_range_uuid=ip_range_uuid, ip=ip, netmask=netmask, gateway=gateway
            )
        )

    def release(self, nic_uuid: str) -> None:
        """The address was given back in the same unit; without one there is no event."""
        if any(nic.uuid == nic_uuid and nic.ip for nic in self.vm_nics):
            self.trigger(self.AddressReleased(nic_uuid=nic_uuid))

    def detach(self, nic_uuid: str) -> None:
        """Drop a NIC; when it was the default one, the next one is."""
        gone = next((nic for nic in self.vm_nics if nic.uuid == nic_uuid), None)
        if gone is None:
            return
        left = [nic.l3_network_uuid for nic in self.vm_nics if nic is not gone]
        default = self.default_l3_network_uuid
        if default not in left:
            default = left[0] if left else ""
        self.trigger(self.Detached(nic_uuid=nic_uuid, default_l3_network_uuid=default))
