"""A resource changes hands: with what is a part of it, in one append, and with what follows for others (ACC-08)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_volumes import VmVolumes
from zcloud.domain.operations.user_tag import drop_foreign
from zcloud.domain.storage.volume import Volume, VolumeType
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.deletion import children_kinds

# What goes with a resource, besides its children that belong to the same account; refuses what can't go by itself.
Parts = Callable[[Unit, Resource], Awaitable[list[Resource]]]
PARTS: dict[str, Parts] = {}
# Is told of each resource that changed hands, and from which account; for what went by its owner's rights.
Heir = Callable[[Unit, Resource, str], Awaitable[None]]
HEIRS: list[Heir] = []


def hands_over(kind: str) -> Callable[[Parts], Parts]:
    """Resources of the kind can change hands; the decorated coroutine gives what goes with one."""

    def decorate(parts: Parts) -> Parts:
        PARTS[kind] = parts
        return parts

    return decorate


def on_handover(heir: Heir) -> Heir:
    """The decorated coroutine is run behind each change of hands, in the same append."""
    HEIRS.append(heir)
    return heir


async def hand_over(unit: Unit, resource: Resource, account_uuid: str) -> list[Resource]:
    """Give it to an account, with all that is a part of it; gives what has changed hands."""
    parts = PARTS.get(resource.kind)
    if parts is None:
        text = f'{resource.kind} "{resource.name}" stays with its account; {", ".join(sorted(PARTS))} can change hands'
        raise precondition(Reason.NOT_SUPPORTED, text, resource_kind=resource.kind)
    before = resource.account_uuid
    if before == account_uuid:
        return []
    handed = await _with_children(unit, resource, before)
    for part in await parts(unit, resource):
        handed += await _with_children(unit, part, before)
    for found in handed:
        found.change_owner(account_uuid)
    for found in handed:
        await drop_foreign(unit, found)
        for heir in HEIRS:
            await heir(unit, found, before)
    return handed


async def _with_children(unit: Unit, resource: Resource, account_uuid: str) -> list[Resource]:
    """A resource and what rests on it and on nobody else: the snapshots of a volume."""
    found = [resource]
    for cls, attribute in children_kinds(type(resource)):
        if cls.kind in PARTS:
            continue  # a thing of its own, as a VM is that was made from an image
        for uuid in await unit.port("views").referring(cls.kind, attribute, resource.uuid):
            child = await unit.find(cls, uuid)
            if child is not None and child.account_uuid == account_uuid:
                found += await _with_children(unit, child, account_uuid)
    return found


@hands_over("vm_instance")
async def volumes_of_vm(unit: Unit, vm: Resource) -> list[Resource]:
    """Its volumes; its NICs and their addresses are facts beside it, and go in any case."""
    assert isinstance(vm, VmInstance)
    data = (await unit.companion(VmVolumes, vm)).data_volume_uuids
    found = [await unit.find(Volume, uuid) for uuid in (vm.root_volume_uuid, *data)]
    return [volume for volume in found if volume is not None]


@hands_over("volume")
async def free_volume(unit: Unit, volume: Resource) -> list[Resource]:
    """What a VM has goes with the VM."""
    assert isinstance(volume, Volume)
    vm = await unit.find(VmInstance, volume.vm_instance_uuid) if volume.vm_instance_uuid else None
    if vm is not None:
        way = "change the VM's owner" if volume.type is VolumeType.ROOT else "detach it, or change the VM's owner"
        text = f'volume "{volume.name}" is in VM "{vm.name}" and goes with that; {way}'
        raise precondition(Reason.STILL_IN_USE, text, vm_instance_uuid=vm.uuid)
    return []


@hands_over("image")
async def image_alone(unit: Unit, image: Resource) -> list[Resource]:
    """What was made from it stays where it is."""
    del unit, image
    return []
