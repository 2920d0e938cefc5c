"""Takes an ISO that goes out of the CD drives of VMs (VM-31, behaviours 7)."""

from __future__ import annotations

from zcloud.domain.compute.vm_cd_roms import VmCdRoms
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.storage.image import Image, MediaType
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import SubJob

EJECT_SECONDS = 3600


async def holders(unit: Unit, image: Image) -> list[VmInstance]:
    """VMs that have it in a drive."""
    if image.media_type is not MediaType.ISO:
        return []
    found = []
    for uuid in await unit.port("views").holding("vm_instance", "cd_roms", image.uuid, "iso_uuid"):
        vm = await unit.find(VmInstance, uuid)
        if vm is not None and (await unit.companion(VmCdRoms, vm)).holding(image.uuid) is not None:
            found.append(vm)
    return found


async def next_drive(unit: Unit, job: Job) -> SubJob | None:
    """The next VM that has it in a drive."""
    image = await unit.get(Image, job.resource_uuid)
    for vm in await holders(unit, image):
        if vm.uuid not in job.passed_over:
            return SubJob("eject_iso", vm, {"iso_uuid": image.uuid})
    return None
