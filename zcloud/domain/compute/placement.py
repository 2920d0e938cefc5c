"""Places a VM: host, storage and addresses claimed on the books in one decision, next host when one lacks.

Read models are asked first, in bulk; from the first book that is opened to the end nothing is waited for, so that many
VMs can be placed at a time without conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zcloud.domain.compute.candidates import candidates, lately, recent
from zcloud.domain.compute.data_volumes import place_new
from zcloud.domain.compute.host_allocator import (
    CHAIN,
    AllocationFilter,
    AllocationReport,
    Candidate,
    RejectedHost,
    Wish,
    fit,
    judge,
    no_host,
    prefer,
)
from zcloud.domain.compute.machine import Machine, assign_addresses, instantiated
from zcloud.domain.compute.shared_volumes import follow, spans, ties
from zcloud.domain.compute.vm_state import VmEvent
from zcloud.domain.infrastructure.host import Host, HostCapacity, HostStatus, Status
from zcloud.domain.network.l3_network import L3Network
from zcloud.domain.operations.global_config import setting_bytes
from zcloud.domain.storage import allocation
from zcloud.domain.storage.host_image_cache import HostImageCache
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.image_copies import usable_copy
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.storage_choice import best
from zcloud.domain.storage.volume_room import must_serve
from zcloud.kernel.errors import Reason, Refused, precondition
from zcloud.kernel.resource import State
from zcloud.kernel.unit import Unit

# Of a crowd of hosts so many are looked at, taken by chance, before all are: the best of many is as good as the best.
CROWD = 64
# Coprime to any number of hosts that there will be, so that no host is looked at twice.
STRIDE = 1_000_003
# Of those that fit, so many are tried on their books.
TRIED = 8


@dataclass(frozen=True)
class Need:
    """What has to be placed. image and size: of a root volume that is yet to be made, with the data volumes beside."""

    wish: Wish
    image: Image | None = None
    size: int = 0
    primary_storage_uuid: str = ""


@dataclass(frozen=True)
class Chosen:
    """Where it may go; storage only when there is a volume to be made."""

    report: AllocationReport
    host: Host
    storage: PrimaryStorage | None = None


async def survey(unit: Unit, need: Need, hosts: Sequence[Candidate]) -> tuple[AllocationReport, list[Candidate], Wish]:
    """The whole chain over all hosts, best first; claims nothing.

    It looks through a unit of its own: what merely was looked at must not guard the decision, or no two VMs could be
    placed at a time.
    """
    look = Unit(unit.cloud, unit.context, unit.now)
    reserved = await setting_bytes(look, "kvm", "reservedMemory")
    wish = replace(need.wish, reserved_memory=reserved, chance=unit.cloud.ids.new())
    if need.image is not None:
        wish = replace(wish, image_faults=await _image_faults(look, need.image, hosts))
    left, filters = judge(wish, hosts, CHAIN[:-1])
    if need.image is not None:
        faults = {}
        for candidate in left:
            host = await look.find(Host, candidate.uuid)
            _, fault = await _storage_of(look, need, candidate, host) if host is not None else (None, "it is gone")
            faults[candidate.uuid] = fault
        wish = replace(wish, storage_faults=faults)
    left, last = judge(wish, left, CHAIN[-1:])
    order = prefer(wish, left)
    return AllocationReport((*filters, *last), "", tuple(host.uuid for host in order)), order, wish


async def quickly(unit: Unit, need: Need, hosts: Sequence[Candidate]) -> Chosen | None:
    """A host that is good, without asking of all the others why not; None when that is not found at once."""
    look = Unit(unit.cloud, unit.context, unit.now)
    reserved = await setting_bytes(look, "kvm", "reservedMemory")
    chance = unit.cloud.ids.new()
    wish = replace(need.wish, reserved_memory=reserved, chance=chance)
    if need.image is not None:
        if wish.zone_uuid and not wish.host_uuid:
            hosts = [host for host in hosts if host.zone_uuid == wish.zone_uuid]
        if len(hosts) > CROWD:
            start = int(chance, 16)
            hosts = [hosts[(start + n * STRIDE) % len(hosts)] for n in range(CROWD)]
        wish = replace(wish, image_faults=await _image_faults(look, need.image, hosts))
    for candidate in prefer(wish, fit(wish, hosts, CHAIN[:-1]))[:TRIED]:
        host = await look.find(Host, candidate.uuid)
        if host is None or await _lack(look, wish, host):
            continue
        if need.image is not None and (await _storage_of(look, need, candidate, host))[0] is None:
            continue
        host = await unit.get(Host, candidate.uuid)
        await _lack(unit, wish, host)  # what was looked at guards the decision
        storage = (await _storage_of(unit, need, candidate, host))[0] if need.image is not None else None
        return Chosen(AllocationReport((), host.uuid, (host.uuid,)), host, storage)
    return None


async def choose(unit: Unit, need: Need, hosts: Sequence[Candidate]) -> Chosen:
    """The first host in order of preference whose books really have room. Raises RESOURCE_EXHAUSTED with the report."""
    report, order, wish = await survey(unit, need, hosts)
    fallen = []
    for candidate in order:
        host = await unit.find(Host, candidate.uuid)
        storage, why = None, "it is gone"
        if host is not None:
            why = await _lack(unit, wish, host)
            if not why and need.image is not None:
                storage, why = await _storage_of(unit, need, candidate, host)
        if host is not None and not why:
            return Chosen(replace(report, host_uuid=host.uuid), host, storage)
        fallen.append(RejectedHost(candidate.uuid, candidate.name, why))
    if fallen:  # others took the room since the read models saw it
        report = replace(report, filters=(*report.filters, AllocationFilter("Reservation", 0, tuple(fallen))))
    raise no_host(replace(report, candidate_host_uuids=()))


async def place(unit: Unit, it: Machine, *, report: bool = False) -> AllocationReport:
    """Let a VM start: its addresses, a host, and where its root volume will lie if it has none yet.

    report: tell of every host why it was not chosen, which is told in any case when there is none.
    """
    hosts = await lately(unit)
    need = await need_of(unit, it)
    chosen = None if report else await quickly(unit, need, hosts)
    if chosen is None:
        chosen = await choose(unit, need, await candidates(unit))
    await assign_addresses(unit, it)
    host, vm = chosen.host, it.vm
    reserved = await setting_bytes(unit, "kvm", "reservedMemory")
    (await unit.companion(HostCapacity, host)).claim(vm.uuid, vm.cpu_num, vm.memory_size, reserved)
    if chosen.storage is not None:
        assert need.image is not None
        await allocation.claim_cache(unit, chosen.storage, host, need.image)
        await allocation.claim(unit, chosen.storage, host, it.volume.uuid, it.volume.size)
        it.disk.place(chosen.storage.uuid, host.uuid, path_of(chosen.storage, it))
        await place_new(unit, it, chosen.storage, host)
    else:
        await follow(unit, it, host)
    it.status.take(VmEvent.STARTING, host=(host.uuid, host.cluster_uuid, host.hypervisor_type))
    recent(unit).placed(host.uuid, vm.cpu_num, vm.memory_size)
    return chosen.report


async def destination(unit: Unit, it: Machine, host_uuid: str) -> Chosen:
    """Claim room for a VM that runs on another host, the one that is asked for or the best. May refuse."""
    need = await need_of(unit, it)
    if need.wish.host_uuid:
        text = f"VM {it.vm.uuid} cannot leave its host: {need.wish.pinned}; move it to a shared storage first"
        raise precondition(Reason.NOT_SUPPORTED, text, host_uuid=need.wish.host_uuid)
    wish = replace(need.wish, host_uuid=host_uuid, avoided_host_uuid=it.status.host_uuid)
    chosen = await choose(unit, replace(need, wish=wish), await candidates(unit))
    reserved = await setting_bytes(unit, "kvm", "reservedMemory")
    capacity = await unit.companion(HostCapacity, chosen.host)
    capacity.claim(it.vm.uuid, it.vm.cpu_num, it.vm.memory_size, reserved)
    return chosen


def path_of(storage: PrimaryStorage, it: Machine) -> str:
    """Where the root volume's file lies on the host."""
    uuid = it.volume.uuid
    return f"{storage.directory}/rootVolumes/acct-{it.vm.account_uuid}/vol-{uuid}/{uuid}.qcow2"


async def need_of(unit: Unit, it: Machine) -> Need:
    """What a VM needs now: once a volume lies on a host's own disk, that host and no other."""
    vm = it.vm
    l2s = [(await unit.get(L3Network, nic.l3_network_uuid)).l2_network_uuid for nic in it.nics.vm_nics]
    wish = Wish(
        vm_instance_uuid=vm.uuid,
        cpu_num=vm.cpu_num,
        memory_size=vm.memory_size,
        strategy=vm.allocator_strategy,
        l2_network_uuids=frozenset(l2s),
        zone_uuid=vm.zone_uuid,
        last_host_uuid=it.status.last_host_uuid,
    )
    if instantiated(it):
        for volume in (it.volume, *(data.volume for data in it.data)):
            await must_serve(unit, volume, "used by a VM")
        pinned, storages = await ties(unit, it)
        which = "data" if await spans(unit, it.disk) else "root"
        text = f"the VM's {which} volume lies on the disk of host {pinned}"
        return Need(replace(wish, host_uuid=pinned, pinned=text, storage_uuids=storages))
    wish = replace(wish, cluster_uuid=vm.asked.cluster_uuid, host_uuid=vm.asked.host_uuid)
    image = await unit.get(Image, vm.image_uuid)
    size = it.volume.size + sum(data.volume.size for data in it.data)
    return Need(wish, image, size, vm.asked.primary_storage_uuid)


async def _lack(unit: Unit, wish: Wish, host: Host) -> str:
    if host.deleting_job:
        return f"it is being deleted by job {host.deleting_job}"
    if host.state.value != State.ENABLED.value:
        return f"it is {host.state.value}"
    status = await unit.companion(HostStatus, host)
    if status.status is not Status.CONNECTED:
        return f"it is {status.status.value}"
    missing = (await unit.companion(HostStorage, host)).missing(wish.storage_uuids)
    if missing:
        return missing
    capacity = await unit.companion(HostCapacity, host)
    return capacity.lacks(wish.cpu_num, wish.memory_size, wish.reserved_memory)


async def _image_faults(look: Unit, image: Image, hosts: Sequence[Candidate]) -> dict[str, str]:
    """By host: why it can't have the image. One that has it in its cache needs no backup storage (IMG-10)."""
    zones: dict[str, str] = {}
    for zone_uuid in {host.zone_uuid for host in hosts}:
        try:
            await usable_copy(look, image, zone_uuid)
        except Refused as refused:
            zones[zone_uuid] = refused.message
    faults = {}
    for host in hosts:
        if host.zone_uuid in zones:
            cache = await look.companion_of(HostImageCache, host.uuid)
            if not any(cached.name == image.cache_name for cached in cache.cached_images):
                faults[host.uuid] = zones[host.zone_uuid]
    return faults


async def _storage_of(unit: Unit, need: Need, candidate: Candidate, host: Host) -> tuple[PrimaryStorage | None, str]:
    """The best storage, by the strategy, that can take the volume on this host, or why none can."""
    whys = []
    able: list[PrimaryStorage] = []
    books = await unit.companion(HostStorage, host)
    for uuid in candidate.primary_storage_uuids:
        if need.primary_storage_uuid not in ("", uuid):
            continue
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is None or storage.deleting_job:
            continue
        why = await allocation.lacks(unit, storage, host, need.size, need.image)
        if not why and need.image is not None:
            why = await _unfetchable(unit, need.image, storage, host)
        share = books.shares.get(uuid)
        if why or share is None:
            whys.append(why or "it is not prepared on this host yet")
        else:
            able.append(storage)
    chosen = await best(unit, host, able)
    if chosen is not None:
        return chosen, ""
    asked = need.primary_storage_uuid
    missing = f"primary storage {asked}, which was asked for, is not" if asked else "no primary storage is"
    return None, "; ".join(whys) or f"{missing} attached to its cluster"


async def _unfetchable(unit: Unit, image: Image, storage: PrimaryStorage, host: Host) -> str:
    """Why the image cannot be brought there: every copy lies on a kind that does not go with it (PS-15)."""
    try:
        await usable_copy(unit, image, host.zone_uuid, storage)
    except Refused as refused:
        return "" if await allocation.lies_in_cache(unit, storage, host, image) else refused.message
    return ""
