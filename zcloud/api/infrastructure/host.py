"""What is not standard about hosts: they are added and reconnected by jobs."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.infrastructure import host_size
from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.infrastructure.host import Host, HostStatus
from zcloud.domain.infrastructure.kvm_host import KvmHost
from zcloud.domain.infrastructure.simulator_host import SimulatorHost
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit


@command("AddKvmHost")
async def add_kvm_host(call: Call, unit: Unit, request: Any) -> KvmHost:
    """Kept when its first connect succeeds (HST-03)."""
    cluster = await unit.get(Cluster, request.cluster_uuid)
    cluster.must_take("KVM")
    host = await unit.new(KvmHost, request.resource_uuid)
    host.create(zone_uuid=cluster.zone_uuid, **arguments(call, request))
    await _must_be_another(unit, host)
    await submit(unit, "add_host", host)
    return host


async def _must_be_another(unit: Unit, host: KvmHost) -> None:
    """One machine is one host: its room would count twice, and what is deleted of the one is deleted of the other."""
    place = {"management_ip": host.management_ip, "ssh_port": host.ssh_port}
    for uuid in await unit.port("views").where("kvm_host", **place):
        other = await unit.find(KvmHost, uuid)
        if other is not None and other.uuid != host.uuid and other.libvirt_uri == host.libvirt_uri:
            text = f'host "{other.name}" has {other.management_ip} with port {other.ssh_port}: it is the same machine'
            raise precondition(Reason.OVERLAP, text, host_uuid=other.uuid)


@command("AddSimulatorHost")
async def add_simulator_host(call: Call, unit: Unit, request: Any) -> SimulatorHost:
    """Its agent is a simulator process, which dials in when it runs."""
    cluster = await unit.get(Cluster, request.cluster_uuid)
    cluster.must_take("Simulator")
    host = await unit.new(SimulatorHost, request.resource_uuid)
    given = arguments(call, request)
    cpu_num, memory = given.pop("cpu_num"), given.pop("memory_size")
    host.create(zone_uuid=cluster.zone_uuid, **given)
    (await unit.companion(HostStatus, host)).disconnected("its simulator has not dialled in yet")
    await host_size.measured(unit, host, cpu_num, memory)
    return host


@command("ReconnectHost")
async def reconnect_host(call: Call, unit: Unit, request: Any) -> Host:
    """Installs the agent again, and connects in full (HST-04)."""
    host = await unit.usable(Host, request.uuid)
    await submit(unit, "reconnect_host", host)
    return host
