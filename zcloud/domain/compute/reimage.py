"""Root volumes that are made anew, from their own image or another one (VM-26, VM-27)."""

from __future__ import annotations

from zcloud.domain.compute.machine import Machine
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation, cached_images
from zcloud.domain.storage.image import Image, MediaType
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.snapshots import chained, remade
from zcloud.domain.storage.volume import VolumeState
from zcloud.domain.storage.volume_chain import VolumeChain
from zcloud.domain.storage.volume_room import claim_size, must_serve, where
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit


async def must_be_remakable(unit: Unit, it: Machine, image: Image) -> None:
    """Refuses a VM whose root volume cannot be made anew now, and says why."""
    what = "reimage" if image.uuid == it.vm.image_uuid else "change the image of"
    it.status.must_allow(what, ALLOWED["reimage"])
    it.disk.must_be(it.volume, "made anew", VolumeState.READY)
    await must_serve(unit, it.volume, "made anew")
    chain = await unit.companion(VolumeChain, it.volume)
    if image.uuid != it.vm.image_uuid and chain.nodes:
        text = (
            f'root volume "{it.volume.name}" has {len(chain.nodes)} snapshots, which rest on its old image; '
            "delete them first"
        )
        raise precondition(Reason.STILL_IN_USE, text, snapshots=len(chain.nodes))


async def plan(unit: Unit, it: Machine, image: Image, size: int) -> None:
    """Claim room for the image, and for a root volume of this size. Raises RESOURCE_EXHAUSTED."""
    await must_be_remakable(unit, it, image)
    storage, host = await place_of(unit, it)
    await allocation.claim_cache(unit, storage, host, image)
    await claim_size(unit, it.volume, size)


async def place_of(unit: Unit, it: Machine) -> tuple[PrimaryStorage, Host]:
    """Where the root volume lies. Raises FAILED_PRECONDITION when there is nobody left to ask."""
    found = await where(unit, it.disk)
    if found is None:
        text = f'root volume "{it.volume.name}" lies on a storage or a host that is gone'
        raise precondition(Reason.WRONG_STATUS, text, volume_uuid=it.volume.uuid)
    return found


async def made_anew(unit: Unit, it: Machine, image: Image, path: str, size: int, actual_size: int) -> None:
    """Another file is the root volume, with nothing but the image in it; snapshots of the old one stay."""
    of_iso = image.media_type is MediaType.ISO
    it.volume.change_image("" if of_iso else image.uuid)
    if image.uuid != it.vm.image_uuid:
        it.vm.change_image(image.uuid, image.platform.value, image.boot_mode.value)
    await remade(unit, await chained(unit, it.volume.uuid), path, size, actual_size)
    found = await where(unit, it.disk)
    if found is not None:
        await cached_images.rebase(unit, it.disk, *found, None if of_iso else image)


async def given_up(unit: Unit, it: Machine, image: Image) -> None:
    """It is what it was: what was claimed beyond that is free again."""
    found = await where(unit, it.disk)
    if found is not None:
        await claim_size(unit, it.volume, it.volume.size)
        await allocation.release_cache(unit, *found, image)
