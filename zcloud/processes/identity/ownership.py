"""A resource changes hands: with what is a part of it, in one append, and with what follows for others (ACC-08)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_volumes import VmVolumes
from zcloud.domain.operations.user_tag import drop_foreign
from zcloud.domain.storage.volume import Volume, VolumeType
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.job import JobQueue
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit

# Kinds that can change hands by themselves, and what refuses it.
Guard = Callable[[Unit, Resource], Awaitable[None]]
GUARDS: dict[str, Guard] = {}
# By kind: uuids of what goes with a resource.
Parts = Callable[[Unit, Resource], Awaitable[list[str]]]
PARTS: dict[str, list[Parts]] = {}
# Is told of each resource that changed hands, and from which account; for what went by its owner's rights.
Heir = Callable[[Unit, Resource, str], Awaitable[None]]
HEIRS: list[Heir] = []


def hands_over(kind: str) -> Callable[[Guard], Guard]:
    """Resources of the kind can change hands; the decorated coroutine refuses one that can't by itself."""

    def decorate(guard: Guard) -> Guard:
        GUARDS[kind] = guard
        return guard

    return decorate


def goes_with(kind: str) -> Callable[[Parts], Parts]:
    """The decorated coroutine gives the uuids of what goes with a resource of the kind."""

    def decorate(parts: Parts) -> Parts:
        PARTS.setdefault(kind, []).append(parts)
        return parts

    return decorate


def on_handover(heir: Heir) -> Heir:
    """The decorated coroutine is run behind each change of hands, in the same append."""
    HEIRS.append(heir)
    return heir


async def hand_over(unit: Unit, resource: Resource, account_uuid: str) -> list[Resource]:
    """Give it to an account, with all that is a part of it; gives what has changed hands."""
    guard = GUARDS.get(resource.kind)
    if guard is None:
        text = f'{resource.kind} "{resource.name}" stays with its account; {", ".join(sorted(GUARDS))} can change hands'
        raise precondition(Reason.NOT_SUPPORTED, text, resource_kind=resource.kind)
    before = resource.account_uuid
    if before == account_uuid:
        return []
    await guard(unit, resource)
    handed = await _with_parts(unit, resource)
    for found in handed:
        found.change_owner(account_uuid)
    for found in handed:
        await drop_foreign(unit, found)
        for heir in HEIRS:
            await heir(unit, found, before)
    return handed


async def _with_parts(unit: Unit, resource: Resource) -> list[Resource]:
    """A resource and its parts; no job may be at work on any, since it could be making another part."""
    jobs = (await unit.companion(JobQueue, resource)).jobs
    if jobs:
        text = f'job {jobs[0]} is at work on {resource.kind} "{resource.name}"; wait for it, or cancel it'
        raise precondition(Reason.BUSY, text, job_uuid=jobs[0])
    found = [resource]
    for parts in PARTS.get(resource.kind, ()):
        for uuid in await parts(unit, resource):
            part = await unit.find(Resource, uuid)
            if part is not None:
                found += await _with_parts(unit, part)
    return found


@hands_over("vm_instance")
async def whole_vm(unit: Unit, vm: Resource) -> None:
    """Its NICs and their addresses are facts beside it, and go in any case."""


@goes_with("vm_instance")
async def parts_of_vm(unit: Unit, vm: Resource) -> list[str]:
    """Its volumes, and the names that its snapshots have together."""
    assert isinstance(vm, VmInstance)
    data = (await unit.companion(VmVolumes, vm)).data_volume_uuids
    groups = await unit.port("views").where("volume_snapshot_group", vm_instance_uuid=vm.uuid)
    return [vm.root_volume_uuid, *data, *groups]


@hands_over("volume")
async def free_volume(unit: Unit, volume: Resource) -> None:
    """What a VM has goes with the VM."""
    assert isinstance(volume, Volume)
    vm = await unit.find(VmInstance, volume.vm_instance_uuid) if volume.vm_instance_uuid else None
    if vm is not None:
        way = "change the VM's owner" if volume.type is VolumeType.ROOT else "detach it, or change the VM's owner"
        text = f'volume "{volume.name}" is in VM "{vm.name}" and goes with that; {way}'
        raise precondition(Reason.STILL_IN_USE, text, vm_instance_uuid=vm.uuid)


@goes_with("volume")
async def parts_of_volume(unit: Unit, volume: Resource) -> list[str]:
    """Its snapshots and their trees."""
    views = unit.port("views")
    return [
        *await views.where("volume_snapshot", volume_uuid=volume.uuid),
        *await views.where("volume_snapshot_tree", volume_uuid=volume.uuid),
    ]


@hands_over("image")
async def image_alone(unit: Unit, image: Resource) -> None:
    """What was made from it stays where it is."""
