"""Tasks that give NICs their network on a host: the bridge, and DHCP with entries from here (NSV-06, L3-16)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.network.addressing import L3Addressing
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import L2Network, bridge_of
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Task
from zcloud.processes.network.bridges import apply_task
from zcloud.v1.network_task_pb2 import ApplyDhcpTask, DhcpEntry, ReleaseDhcpTask

MAX_LABEL = 63


class Nic(Protocol):
    """What is needed of a NIC."""

    @property
    def mac(self) -> str: ...

    @property
    def ip(self) -> str: ...

    @property
    def netmask(self) -> str: ...

    @property
    def gateway(self) -> str: ...


async def l2_task(unit: Unit, l3: L3Network, host_uuid: str) -> Task | None:
    """The bridge of an L3 network on a host; None when the host has it (every connect sees to that)."""
    networks = await unit.companion_of(HostNetworks, host_uuid)
    if l3.l2_network_uuid in networks.bridges:
        return None
    l2 = await unit.get(L2Network, l3.l2_network_uuid)
    return apply_task(host_uuid, l2.uuid, l2.physical_interface)


async def dhcp_task(unit: Unit, l3: L3Network, host_uuid: str, entries: Sequence[DhcpEntry]) -> Task:
    """The network's DHCP server on a host, with these entries besides those it has."""
    addressing = await unit.companion(L3Addressing, l3)
    if not addressing.dhcp_server_ip or not addressing.network_cidr:
        raise precondition(
            Reason.NO_ADDRESS_AVAILABLE, f'L3 network "{l3.name}" has no range that its DHCP server could serve'
        )
    return Task(
        host_uuid,
        ApplyDhcpTask(
            l3_network_uuid=l3.uuid,
            bridge=bridge_of(l3.l2_network_uuid),
            server_address=f"{addressing.dhcp_server_ip}/{addressing.prefix_length}",
            dns=l3.dns,
            dns_domain=l3.dns_domain,
            entries=entries,
        ),
    )


async def release_dhcp_task(unit: Unit, l3: L3Network, host_uuid: str, macs: Sequence[str]) -> Task:
    """Takes the entries of NICs away."""
    host = await unit.get(Host, host_uuid)
    return Task(host.uuid, ReleaseDhcpTask(l3_network_uuid=l3.uuid, macs=macs))


def entry(nic: Nic, vm_name: str, is_default: bool, l3: L3Network) -> DhcpEntry:
    """What the guest is told on a NIC; a way out of the network only on its default one, and not where none leads."""
    del l3
    return DhcpEntry(
        mac=nic.mac,
        ip=nic.ip,
        netmask=nic.netmask,
        hostname=hostname(vm_name, nic.ip),
        gateway=nic.gateway if is_default else "",
    )


def hostname(vm_name: str, ip: str) -> str:
    """The VM's name as a DNS label; where nothing of it is left, one that follows from the address."""
    label = re.sub(r"[^a-z0-9]+", "-", vm_name.lower())[:MAX_LABEL].strip("-")
    return label or "ip-" + ip.replace(".", "-")
