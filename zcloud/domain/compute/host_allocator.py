"""Host allocation: a chain of filters, each with a reason for every host that falls, then an order of preference.

Pure: it judges what it is given. What is written is decided in placement.py, on the books of the chosen host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from zcloud.kernel.errors import Code, Reason, Refused

# A refusal holds so many hosts with their reasons; the whole report is had by GetAllocationReport.
TOLD = 10


@dataclass(frozen=True)
class Candidate:
    """A host as the read models have it, and what is attached to its cluster."""

    uuid: str
    name: str
    zone_uuid: str
    cluster_uuid: str
    state: str
    status: str
    hypervisor_type: str
    available_cpu_capacity: int
    available_memory_capacity: int
    cluster_state: str = "Enabled"
    zone_state: str = "Enabled"
    l2_network_uuids: frozenset[str] = frozenset()
    primary_storage_uuids: tuple[str, ...] = ()
    vm_number: int = 0


@dataclass(frozen=True)
class Wish:
    """What a VM needs. Empty: anything will do. pinned: why it must be that host and no other."""

    vm_instance_uuid: str
    cpu_num: int
    memory_size: int
    strategy: str = "LeastVmPreferred"
    l2_network_uuids: frozenset[str] = frozenset()
    zone_uuid: str = ""
    cluster_uuid: str = ""
    host_uuid: str = ""
    pinned: str = ""
    last_host_uuid: str = ""
    # The host that it is to leave.
    avoided_host_uuid: str = ""
    reserved_memory: int = 0
    # By host: what is wrong with the image there, and with the storages; empty when nothing is.
    image_faults: Mapping[str, str] = field(default_factory=dict)
    storage_faults: Mapping[str, str] = field(default_factory=dict)
    # On which its volumes lie already, where hosts share them.
    storage_uuids: frozenset[str] = frozenset()
    # Chance for the strategy Default, from the kernel's source.
    chance: str = ""


@dataclass(frozen=True)
class RejectedHost:
    """A host that fell, and why."""

    host_uuid: str
    host_name: str
    reason: str


@dataclass(frozen=True)
class AllocationFilter:
    """One filter: how many hosts it left, and which it did not."""

    name: str
    left: int
    rejected: tuple[RejectedHost, ...] = ()


@dataclass(frozen=True)
class AllocationReport:
    """Why a host was chosen, or none. candidate_host_uuids: what was left, best first."""

    filters: tuple[AllocationFilter, ...] = ()
    host_uuid: str = ""
    candidate_host_uuids: tuple[str, ...] = ()


# Why the host cannot have the VM; empty when it can.
Judge = Callable[[Wish, Candidate], str]


def attached_l2_network(wish: Wish, host: Candidate) -> str:
    """The host's cluster has every L2 network of the VM's L3 networks."""
    missing = sorted(wish.l2_network_uuids - host.l2_network_uuids)
    return f"L2 network {missing[0]} is not attached to its cluster" if missing else ""


def designated(wish: Wish, host: Candidate) -> str:
    """Zone, cluster and host are those that were asked for."""
    if host.uuid == wish.avoided_host_uuid:
        return "the VM is there, and is to leave it"
    if wish.host_uuid and host.uuid != wish.host_uuid:
        return wish.pinned or f"host {wish.host_uuid} was asked for"
    if wish.cluster_uuid and host.cluster_uuid != wish.cluster_uuid:
        return f"it is in cluster {host.cluster_uuid}, and cluster {wish.cluster_uuid} was asked for"
    if wish.zone_uuid and host.zone_uuid != wish.zone_uuid:
        return f"it is in zone {host.zone_uuid}, and the VM belongs to zone {wish.zone_uuid}"
    return ""


def host_state_and_hypervisor(wish: Wish, host: Candidate) -> str:
    """Host, cluster and zone are Enabled, and the host is Connected (HST-05)."""
    del wish
    if host.state != "Enabled":
        return f"it is {host.state}"
    if host.status != "Connected":
        return f"it is {host.status}"
    for what, state in (("cluster", host.cluster_state), ("zone", host.zone_state)):
        if state != "Enabled":
            return f"its {what} is {state}"
    return ""


def image_backup_storage(wish: Wish, host: Candidate) -> str:
    """A backup storage of the host's zone can give the image, or the host has it."""
    return wish.image_faults.get(host.uuid, "")


def host_capacity(wish: Wish, host: Candidate) -> str:
    """vCPUs and memory are left, beside the reserve."""
    if wish.cpu_num > host.available_cpu_capacity:
        return f"{host.available_cpu_capacity} vCPUs are left, {wish.cpu_num} are wanted"
    left = max(0, host.available_memory_capacity - wish.reserved_memory)
    if wish.memory_size > left:
        return f"{left} bytes of memory are left beside the reserve, {wish.memory_size} are wanted"
    return ""


def host_primary_storage(wish: Wish, host: Candidate) -> str:
    """A storage of the host's cluster has room on the host; those where the VM's volumes lie are attached there."""
    missing = sorted(wish.storage_uuids.difference(host.primary_storage_uuids))
    if missing:
        return f"primary storage {missing[0]}, where the VM's volumes lie, is not attached to its cluster"
    return wish.storage_faults.get(host.uuid, "")


# In the order of the reference; the later ones are dearer to judge.
CHAIN: tuple[tuple[str, Judge], ...] = (
    ("AttachedL2Network", attached_l2_network),
    ("Designated", designated),
    ("HostStateAndHypervisor", host_state_and_hypervisor),
    ("ImageBackupStorage", image_backup_storage),
    ("HostCapacity", host_capacity),
    ("HostPrimaryStorage", host_primary_storage),
)


def judge(
    wish: Wish, hosts: Iterable[Candidate], chain: Iterable[tuple[str, Judge]]
) -> tuple[list[Candidate], tuple[AllocationFilter, ...]]:
    """Who is left after these filters, and what each said. A filter that is given no host has nothing to say."""
    left = list(hosts)
    filters = []
    for name, why_not in chain:
        reasons = [(host, why_not(wish, host)) for host in left]
        left = [host for host, reason in reasons if not reason]
        rejected = tuple(RejectedHost(host.uuid, host.name, reason) for host, reason in reasons if reason)
        filters.append(AllocationFilter(name, len(left), rejected))
    return left, tuple(filters)


def prefer(wish: Wish, hosts: Iterable[Candidate]) -> list[Candidate]:
    """Best first (OFR-03). Among equals the order is by chance, so that many nodes do not pick the same host."""
    factor = crc32(wish.chance.encode()) | 1
    chance = {host.uuid: crc32(host.uuid.encode()) * factor & 0xFFFFFFFF for host in hosts}
    orders: dict[str, Callable[[Candidate], tuple[object, ...]]] = {
        "Default": lambda host: (chance[host.uuid],),
        "LeastVmPreferred": lambda host: (host.vm_number, chance[host.uuid]),
        "MostVmPreferred": lambda host: (-host.vm_number, chance[host.uuid]),
        "LastHostPreferred": lambda host: (host.uuid != wish.last_host_uuid, host.vm_number, chance[host.uuid]),
    }
    return sorted(hosts, key=orders[wish.strategy])


def fit(wish: Wish, hosts: Iterable[Candidate], chain: Iterable[tuple[str, Judge]]) -> list[Candidate]:
    """Who is left after these filters, when nobody asks why the others are not."""
    judges = [why_not for _, why_not in chain]
    return [host for host in hosts if not any(why_not(wish, host) for why_not in judges)]


def no_host(report: AllocationReport) -> Refused:
    """Every filter with the number that it left, and of the first hosts why they fell."""
    parts = [f"{step.name} left {step.left}" for step in report.filters]
    fallen = [(step.name, host) for step in report.filters for host in step.rejected]
    # Hosts often fall for one reason, which is then said once.
    alike: dict[str, list[str]] = {}
    for name, host in fallen[:TOLD]:
        alike.setdefault(f"fell at {name}: {host.reason}", []).append(f'"{host.host_name}"')
    whys = [f"{', '.join(names)} {why}" for why, names in alike.items()]
    if len(fallen) > TOLD:
        whys.append(f"{len(fallen) - TOLD} more hosts: see GetAllocationReport")
    text = f"no host can have the VM: {', '.join(parts)}. {'; '.join(whys) or 'There is no host; add one'}"
    facts = {step.name: str(step.left) for step in report.filters}
    facts |= {f"host {host.host_uuid}": f"{name}: {host.reason}" for name, host in fallen[:TOLD]}
    refused = Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_HOST_AVAILABLE, text, detail=report)
    refused.facts = facts
    return refused
