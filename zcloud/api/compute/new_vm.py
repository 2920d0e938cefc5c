"""What a request for a new VM (or for what would become of one) amounts to, once all that it names is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zcloud.api.storage.disk_size import LEAST, offered_size
from zcloud.domain.compute.data_volumes import MOST
from zcloud.domain.compute.host_allocator import Wish
from zcloud.domain.compute.instance_offering import AllocatorStrategy, InstanceOffering
from zcloud.domain.compute.isos import usable_iso
from zcloud.domain.compute.placement import Need
from zcloud.domain.compute.vm_instance import Asked
from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.network.l3_network import L3Network
from zcloud.domain.storage.image import Image, ImageFacts, MediaType, must_be_usable
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.resource import State
from zcloud.kernel.unit import Unit

MIN_MEMORY = 16 << 20


@dataclass(frozen=True)
class NewDisk:
    """A data volume that is asked for with the VM. size: bytes."""

    size: int
    disk_offering_uuid: str = ""


@dataclass(frozen=True)
class Order:
    """size: bytes of the root volume. data: the volumes beside it. static_ips: by L3 network."""

    cpu_num: int
    memory_size: int
    strategy: str
    image: Image
    size: int
    l3s: tuple[L3Network, ...]
    default_l3_network_uuid: str
    zone_uuid: str
    asked: Asked
    data: tuple[NewDisk, ...] = ()
    static_ips: dict[str, str] = field(default_factory=dict)

    def need(self) -> Need:
        """As the allocator is told."""
        wish = Wish(
            vm_instance_uuid="",
            cpu_num=self.cpu_num,
            memory_size=self.memory_size,
            strategy=self.strategy,
            l2_network_uuids=frozenset(l3.l2_network_uuid for l3 in self.l3s),
            zone_uuid=self.zone_uuid,
            cluster_uuid=self.asked.cluster_uuid,
            host_uuid=self.asked.host_uuid,
        )
        size = self.size + sum(disk.size for disk in self.data)
        return Need(wish, self.image, size, self.asked.primary_storage_uuid)


async def order_of(unit: Unit, request: Any) -> Order:
    """Raises INVALID_ARGUMENT for what does not go together, FAILED_PRECONDITION for what can't be used now."""
    has = {field.name for field in request.DESCRIPTOR.fields}
    cpu_num, memory_size, strategy = await _size(unit, request)
    default = request.default_l3_network_uuid if "default_l3_network_uuid" in has else ""
    static_ips = _static_ips(request) if "static_ips" in has else {}
    if default and default not in request.l3_network_uuids:
        raise invalid("default_l3_network_uuid", default, "must be one of l3_network_uuids")
    l3s = await _networks(unit, request)
    zone_uuid = l3s[0].zone_uuid
    image = await _bootable(unit, request.image_uuid)
    asked = await _place(unit, request, zone_uuid)
    return Order(
        cpu_num=cpu_num,
        memory_size=memory_size,
        strategy=strategy,
        image=image,
        size=await _root_size(unit, request, image),
        l3s=l3s,
        default_l3_network_uuid=default or l3s[0].uuid,
        zone_uuid=zone_uuid,
        asked=asked,
        data=await _data(unit, request),
        static_ips=static_ips,
    )


async def _root_size(unit: Unit, request: Any, image: Image) -> int:
    """The image's own, or what is asked for, which must not be less (OFR-06). An ISO says nothing of it."""
    of_iso = image.media_type is MediaType.ISO
    least = LEAST if of_iso else (await unit.companion(ImageFacts, image)).size
    offering, asked = getattr(request, "root_disk_offering_uuid", ""), getattr(request, "root_disk_size", 0)
    if offering and asked:
        raise invalid("root_disk_size", asked, "must be absent when root_disk_offering_uuid is given")
    field_name, value = ("root_disk_offering_uuid", offering) if offering else ("root_disk_size", asked)
    if not offering and not asked:
        if of_iso and hasattr(request, "root_disk_size"):
            text = "must be given, or root_disk_offering_uuid, where the image is an ISO"
            raise invalid(field_name, value, text)
        return least
    size = await offered_size(unit, offering) if offering else int(asked)
    if size < least:
        raise invalid(field_name, value, f"is {size} bytes, and {least} is the least; take a bigger one")
    return size


async def _data(unit: Unit, request: Any) -> tuple[NewDisk, ...]:
    offerings = getattr(request, "data_disk_offering_uuids", ())
    sizes = getattr(request, "data_disk_sizes", ())
    if len(offerings) + len(sizes) > MOST:
        raise invalid("data_disk_sizes", len(offerings) + len(sizes), f"a VM has at most {MOST} data volumes")
    for size in sizes:
        if size < LEAST:
            raise invalid("data_disk_sizes", size, f"each must be at least {LEAST} bytes")
    offered = [NewDisk(await offered_size(unit, uuid), uuid) for uuid in offerings]
    return (*offered, *(NewDisk(size) for size in sizes))


async def _size(unit: Unit, request: Any) -> tuple[int, int, str]:
    if request.instance_offering_uuid:
        for name in ("cpu_num", "memory_size"):
            if getattr(request, name):
                raise invalid(name, getattr(request, name), "must be absent when instance_offering_uuid is given")
        offering = await unit.get(InstanceOffering, request.instance_offering_uuid)
        _must_be_enabled(offering, "instance offering", offering.state)
        return offering.cpu_num, offering.memory_size, offering.allocator_strategy.value
    if not request.cpu_num:
        raise invalid("cpu_num", request.cpu_num, "must be at least 1, or instance_offering_uuid be given")
    if request.memory_size < MIN_MEMORY:
        text = f"must be at least {MIN_MEMORY} bytes, or instance_offering_uuid be given"
        raise invalid("memory_size", request.memory_size, text)
    return request.cpu_num, request.memory_size, AllocatorStrategy.LEAST_VM_PREFERRED.value


def _static_ips(request: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for static in request.static_ips:
        if static.l3_network_uuid not in request.l3_network_uuids:
            raise invalid("static_ips.l3_network_uuid", static.l3_network_uuid, "must be one of l3_network_uuids")
        if static.l3_network_uuid in found:
            raise invalid("static_ips.l3_network_uuid", static.l3_network_uuid, "must have at most one address")
        found[static.l3_network_uuid] = static.ip
    return found


async def _networks(unit: Unit, request: Any) -> tuple[L3Network, ...]:
    if not request.l3_network_uuids:
        raise invalid("l3_network_uuids", "", "must name at least one L3 network")
    l3s: list[L3Network] = []
    for uuid in request.l3_network_uuids:
        if any(l3.uuid == uuid for l3 in l3s):
            raise invalid("l3_network_uuids", uuid, "must be named once")
        l3 = await unit.get(L3Network, uuid)
        _must_be_enabled(l3, "L3 network", l3.state)
        if l3.system:
            text = f'L3 network "{l3.name}" is a system network; VMs of users go on others'
            raise precondition(Reason.NOT_SUPPORTED, text, l3_network_uuid=l3.uuid)
        if l3s and l3.zone_uuid != l3s[0].zone_uuid:
            text = f'L3 networks "{l3s[0].name}" and "{l3.name}" are in different zones; a VM is in one'
            raise precondition(Reason.NOT_SAME_ZONE, text, l3_network_uuid=l3.uuid)
        l3s.append(l3)
    return tuple(l3s)


async def _bootable(unit: Unit, image_uuid: str) -> Image:
    """A template, or an ISO that an empty root volume is installed from (VM-06)."""
    image = await unit.get(Image, image_uuid)
    return await usable_iso(unit, image_uuid) if image.media_type is MediaType.ISO else await template(unit, image_uuid)


async def template(unit: Unit, image_uuid: str) -> Image:
    """An image that root volumes can be made from now. Raises FAILED_PRECONDITION."""
    image = await unit.get(Image, image_uuid)
    if image.media_type is not MediaType.ROOT_VOLUME_TEMPLATE:
        text = f'image "{image.name}" is a {image.media_type.value}; a VM needs a RootVolumeTemplate'
        raise precondition(Reason.NOT_SUPPORTED, text, image_uuid=image.uuid)
    must_be_usable(image, await unit.companion(ImageFacts, image))
    return image


async def _place(unit: Unit, request: Any, zone_uuid: str) -> Asked:
    """Zone, cluster, host and storage that are asked for must agree, and be where the networks are."""
    _must_be_in("zone_uuid", request.zone_uuid, request.zone_uuid, zone_uuid)
    if request.cluster_uuid:
        cluster = await unit.get(Cluster, request.cluster_uuid)
        _must_be_in("cluster_uuid", cluster.uuid, cluster.zone_uuid, zone_uuid)
    if request.host_uuid:
        host = await unit.get(Host, request.host_uuid)
        _must_be_in("host_uuid", host.uuid, host.zone_uuid, zone_uuid)
        if request.cluster_uuid not in ("", host.cluster_uuid):
            text = f"host {host.uuid} is in cluster {host.cluster_uuid}, not in cluster_uuid {request.cluster_uuid}"
            raise precondition(Reason.NOT_ATTACHED, text, cluster_uuid=host.cluster_uuid)
    if request.primary_storage_uuid:
        storage = await unit.get(PrimaryStorage, request.primary_storage_uuid)
        _must_be_in("primary_storage_uuid", storage.uuid, storage.zone_uuid, zone_uuid)
    return Asked(request.cluster_uuid, request.host_uuid, request.primary_storage_uuid)


def _must_be_in(field_name: str, uuid: str, zone_uuid: str, wanted: str) -> None:
    if uuid and zone_uuid != wanted:
        text = f"{field_name} {uuid} is in zone {zone_uuid}, and the L3 networks are in zone {wanted}"
        raise precondition(Reason.NOT_SAME_ZONE, text, zone_uuid=wanted)


def _must_be_enabled(resource: Any, what: str, state: State) -> None:
    if state is not State.ENABLED:
        text = f'{what} "{resource.name}" is {state.value}; enable it first'
        raise precondition(Reason.WRONG_STATE, text, state=state.value)
