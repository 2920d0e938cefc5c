"""The hosts that a VM may be placed on, as the read models had them a moment ago: asked for once by many placements.

What is chosen is judged again on the books of the host, so that an old answer costs an attempt and never a mistake.
"""

from __future__ import annotations

from dataclasses import replace

from zcloud.domain.compute.host_allocator import Candidate
from zcloud.kernel.clock import SECOND
from zcloud.kernel.record import Record
from zcloud.kernel.unit import Unit

COLUMNS = (
    "uuid",
    "name",
    "zone_uuid",
    "cluster_uuid",
    "state",
    "status",
    "hypervisor_type",
    "available_cpu_capacity",
    "available_memory_capacity",
)
# As long as an answer is used, unless something happened to hosts, clusters or zones since.
OLDEST = SECOND
# What happens to a host with every VM that is placed; the memory here follows what this node places.
USUAL = ("host_capacity.Claimed", "host_storage.", "host_image_cache.", "host_networks.", "host_strangers.")


class Recent:
    """The last answer, with what was placed since."""

    def __init__(self) -> None:
        self.time = 0
        self.hosts: dict[str, Candidate] = {}

    def placed(self, uuid: str, cpu_num: int, memory_size: int) -> None:
        """The next placement knows of this one."""
        host = self.hosts.get(uuid)
        if host is not None:
            self.hosts[uuid] = replace(
                host,
                available_cpu_capacity=host.available_cpu_capacity - cpu_num,
                available_memory_capacity=host.available_memory_capacity - memory_size,
                vm_number=host.vm_number + 1,
            )

    def hear(self, records: list[Record]) -> None:
        """Forget what is no longer so."""
        for record in records:
            kind = record.kind
            if (kind in ("cluster", "zone") or kind.endswith("_host")) and not record.topic.startswith(USUAL):
                self.time = 0
                return


def recent(unit: Unit) -> Recent:
    """The memory of this node."""
    found: Recent | None = unit.cloud.ports.get("recent_hosts")
    if found is None:
        found = unit.cloud.ports["recent_hosts"] = Recent()
        unit.cloud.log.listen(found.hear)
    return found


async def lately(unit: Unit) -> list[Candidate]:
    """All hosts there are, as they were a moment ago."""
    memory = recent(unit)
    if not unit.now - OLDEST < memory.time <= unit.now:
        hosts = await candidates(unit)
        memory.hosts = {host.uuid: host for host in hosts}
        memory.time = unit.now
    return list(memory.hosts.values())


async def candidates(unit: Unit) -> list[Candidate]:
    """All hosts there are, from the read models of now."""
    views = unit.port("views")
    hosts = await views.rows("host", *COLUMNS)
    clusters = {row["uuid"]: row["state"] for row in await views.rows("cluster", "uuid", "state")}
    zones = {row["uuid"]: row["state"] for row in await views.rows("zone", "uuid", "state")}
    networks = await views.lists("cluster", "l2_network_uuids")
    storages = await views.lists("cluster", "primary_storage_uuids")
    vms = await views.tally("vm_instance", "host_uuid")
    return [
        Candidate(
            **row,
            cluster_state=clusters.get(row["cluster_uuid"], ""),
            zone_state=zones.get(row["zone_uuid"], ""),
            l2_network_uuids=frozenset(networks.get(row["cluster_uuid"], ())),
            primary_storage_uuids=tuple(storages.get(row["cluster_uuid"], ())),
            vm_number=vms.get(row["uuid"], 0),
        )
        for row in hosts
    ]
