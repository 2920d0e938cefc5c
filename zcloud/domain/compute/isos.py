"""ISOs of VMs: whether one can be put into a drive now, and where it lies on the host (VM-06, VM-31)."""

from __future__ import annotations

from zcloud.domain.compute.machine import Machine, instantiated
from zcloud.domain.compute.reimage import place_of
from zcloud.domain.compute.vm_cd_roms import VmCdRoms
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.operations.global_config import setting_int
from zcloud.domain.storage import allocation
from zcloud.domain.storage.image import Image, ImageFacts, MediaType, must_be_usable
from zcloud.domain.storage.volume_room import must_serve, where
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.ids import derive
from zcloud.kernel.unit import Unit


async def drives(unit: Unit, vm: VmInstance) -> VmCdRoms:
    """The CD drives of a VM."""
    return await unit.companion(VmCdRoms, vm)


async def usable_iso(unit: Unit, uuid: str) -> Image:
    """An ISO that can be put into a drive now. Raises FAILED_PRECONDITION."""
    image = await unit.usable(Image, uuid)
    if image.media_type is not MediaType.ISO:
        text = f'image "{image.name}" is a {image.media_type.value}; only an Iso goes into a CD drive'
        raise precondition(Reason.NOT_SUPPORTED, text, image_uuid=image.uuid)
    must_be_usable(image, await unit.companion(ImageFacts, image))
    return image


async def must_take(unit: Unit, it: Machine, iso_uuid: str, asked: str) -> None:
    """Refuses an ISO that the VM cannot have now, and says why."""
    it.status.must_allow("attach an ISO to", ALLOWED["attach_volume"])
    if not instantiated(it):
        text = f'VM "{it.vm.name}" was never started: its root volume lies nowhere yet; start it first'
        raise precondition(Reason.WRONG_STATUS, text, vm_instance_uuid=it.vm.uuid)
    await must_serve(unit, it.volume, "given a CD")
    found = await drives(unit, it.vm)
    if found.holding(iso_uuid) is None:
        found.free_drive(asked)


async def insert(unit: Unit, it: Machine, iso: Image, asked: str) -> None:
    """The VM has it from now on; room for it is claimed where its root volume lies. Raises RESOURCE_EXHAUSTED."""
    await must_take(unit, it, iso.uuid, asked)
    storage, host = await place_of(unit, it)
    await allocation.claim_cache(unit, storage, host, iso)
    found = await drives(unit, it.vm)
    found.insert(found.free_drive(asked).uuid, iso.uuid)


async def take_back(unit: Unit, it: Machine, iso: Image) -> None:
    """It was not to be."""
    (await drives(unit, it.vm)).eject(iso.uuid)
    found = await where(unit, it.disk)
    if found is not None:
        await allocation.release_cache(unit, *found, iso)


async def add_drive(unit: Unit, vm: VmInstance, iso_uuid: str = "") -> None:
    """One more, as far as the setting allows."""
    found = await drives(unit, vm)
    uuid = derive(vm.uuid, str(vm.version), "cd_rom", str(found.version))
    found.add(uuid, await setting_int(unit, "vm", "maximumCdRomNum"), iso_uuid)


async def first_drives(unit: Unit, vm: VmInstance, iso_uuid: str = "") -> None:
    """What a new VM has: as many as the setting says, and one for the ISO that it is made from."""
    most = await setting_int(unit, "vm", "maximumCdRomNum")
    number = min(most, await setting_int(unit, "vm", "vmDefaultCdRomNum"))
    found = await drives(unit, vm)
    for place in range(max(number, bool(iso_uuid))):
        found.add(derive(vm.uuid, str(vm.life), "cd_rom", str(place)), max(most, 1), "" if place else iso_uuid)
