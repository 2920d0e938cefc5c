"""Clones of VMs: which volumes become which, and where the copies lie (VM-24, VM-25)."""

from __future__ import annotations

from zcloud.domain.compute.machine import Machine, instantiated, machine
from zcloud.domain.compute.vm_state import ALLOWED
from zcloud.domain.storage import allocation
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus
from zcloud.domain.storage.volume_room import where
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit


async def originals(unit: Unit, it: Machine, *, full: bool) -> list[Volume]:
    """The volumes that are copied, the root volume first. Raises FAILED_PRECONDITION."""
    it.status.must_allow("clone", ALLOWED["clone"])
    if not instantiated(it):
        text = f'VM "{it.vm.name}" was never started: there is nothing to copy'
        raise precondition(Reason.WRONG_STATUS, text, vm_instance_uuid=it.vm.uuid)
    found = [it.volume, *(data.volume for data in it.data if full)]
    host_uuid = it.disk.host_uuid
    for volume in found:
        disk = await unit.companion(VolumeStatus, volume)
        disk.must_be(volume, "copied", VolumeState.READY)
        if disk.host_uuid != host_uuid:
            text = f'volume "{volume.name}" lies on another host than root volume "{it.volume.name}"'
            raise precondition(Reason.NOT_SUPPORTED, text, host_uuid=disk.host_uuid)
    return found


async def place_copy(unit: Unit, source: Volume, copy: Volume) -> None:
    """Claim room beside the original. Raises RESOURCE_EXHAUSTED."""
    lies = await unit.companion(VolumeStatus, source)
    found = await where(unit, lies)
    if found is None:
        text = f'volume "{source.name}" lies on a storage or a host that is gone'
        raise precondition(Reason.WRONG_STATUS, text, volume_uuid=source.uuid)
    storage, host = found
    await allocation.claim(unit, storage, host, copy.uuid, copy.size)
    folder = lies.install_path.removeprefix(f"{storage.directory}/").partition("/")[0]
    path = f"{storage.directory}/{folder}/acct-{copy.account_uuid}/vol-{copy.uuid}/{copy.uuid}.qcow2"
    (await unit.companion(VolumeStatus, copy)).place(storage.uuid, host.uuid, path)


async def must_be_as_planned(unit: Unit, source_vm: str, pairs: list[list[str]]) -> None:
    """Refuses when the VM has other volumes now, or bigger ones, than when the clone was asked for."""
    it = await machine(unit, source_vm)
    it.status.must_allow("clone", ALLOWED["clone"])
    has = {it.volume.uuid, *(data.volume.uuid for data in it.data)}
    for source_uuid, copy_uuid in pairs:
        source, copy = await unit.last(Volume, source_uuid), await unit.last(Volume, copy_uuid)
        if source_uuid not in has or source is None or copy is None or source.size != copy.size:
            text = f'the volumes of VM "{it.vm.name}" were changed meanwhile; ask for the clone again'
            raise precondition(Reason.BUSY, text, volume_uuid=source_uuid)
        (await unit.companion(VolumeStatus, source)).must_be(source, "copied", VolumeState.READY)
