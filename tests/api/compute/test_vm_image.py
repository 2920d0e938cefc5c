"""Root volumes made anew, ISOs in drives, and what VMs boot with, at the door (VM-06, VM-07, VM-08, VM-26, VM-27)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.compute.ground import DISK_BYTES, GIB, Ground, add_image, on_ground, refused
from zcloud.domain.storage.image import Image
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit


async def write(here: Ground, volume: str, **data: str) -> None:
    """As a guest would."""
    path = (await here.api.call("GetVolume", uuid=volume)).inventory.install_path
    here.host.world.volumes[path].data.update(data)


async def content(here: Ground, volume: str) -> dict[str, str]:
    path = (await here.api.call("GetVolume", uuid=volume)).inventory.install_path
    return here.host.world.volumes[path].data


async def files_of(here: Ground, volume: str) -> list[str]:
    return [path for path, file in here.host.world.volumes.items() if file.uuid == volume]


def drives(vm: Any) -> list[tuple[int, str]]:
    return [(one.device_id, one.iso_uuid) for one in vm.cd_roms]


def inside(here: Ground, vm: str) -> list[str]:
    """What lies in the drives of a VM that runs."""
    return [drive.path for drive in here.host.world.vms[vm].spec.cd_drives]


async def forget_image(here: Ground, uuid: str) -> None:
    """As an expunge does once its copies are gone."""

    async def forget(unit: Unit) -> None:
        (await unit.get(Image, uuid)).remove()

    await here.api.node.cloud.decide(Context(actor=SYSTEM), forget)


def test_reset_to_its_image(tmp_path: Path) -> None:
    """VM-27: all that was written is lost, and one file is left; snapshots stay and can be reverted to."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        root = vm.root_volume_uuid
        await write(here, root, secret="1")
        error = await refused(here.api.call("ReimageVmInstance", vm_instance_uuid=vm.uuid))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "WRONG_STATE")
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        before = await files_of(here, root)
        await here.api.done("ReimageVmInstance", vm_instance_uuid=vm.uuid)
        assert await content(here, root) == {}
        after = await files_of(here, root)
        assert len(after) == 1
        assert after != before
        assert here.host.world.volumes[after[0]].backing_path in here.host.world.cache
        assert here.host.world.volumes[after[0]].size == DISK_BYTES
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        assert here.host.world.vms[vm.uuid].spec.disks[0].path == after[0]

        await write(here, root, kept="2")
        snapshot = (await here.api.done("CreateVolumeSnapshot", volume_uuid=root, name="s")).inventory.uuid
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await here.api.done("ReimageVmInstance", vm_instance_uuid=vm.uuid)
        assert await content(here, root) == {}
        assert len(await files_of(here, root)) == 2
        await here.api.done("RevertVolumeFromSnapshot", uuid=snapshot)
        path = (await here.api.call("GetVolume", uuid=root)).inventory.install_path
        assert here.host.world.volumes[here.host.world.volumes[path].backing_path].data == {"kept": "2"}

    on_ground(tmp_path, body)


def test_another_operating_system(tmp_path: Path) -> None:
    """VM-26: image, devices and firmware are the other one's; what cannot be made leaves all as it was."""

    async def body(here: Ground) -> None:
        other = await add_image(here, "windows", size=3 * GIB, platform="Windows", boot_mode="Uefi")
        iso = await add_image(here, "iso", format="Iso")
        vm = await here.create(strategy="create_stopped")
        root = vm.root_volume_uuid
        call = {"vm_instance_uuid": vm.uuid, "image_uuid": other}
        assert (await refused(here.api.call("ChangeVmImage", **{**call, "image_uuid": iso}))).reason == "NOT_SUPPORTED"
        snapshot = (await here.api.done("CreateVolumeSnapshot", volume_uuid=root, name="s")).inventory.uuid
        assert (await refused(here.api.call("ChangeVmImage", **call))).reason == "STILL_IN_USE"
        await here.api.done("DeleteVolumeSnapshot", uuid=snapshot)

        await write(here, root, old="1")
        books = await here.books()
        for task in ("CacheImageTask", "CreateRootVolumeTask"):
            here.order(task)
            await here.failed("ChangeVmImage", **call)
            now = await here.vm(vm.uuid)
            assert (now.image_uuid, now.platform, now.state) == (here.image, "Linux", vm.state)
            assert await content(here, root) == {"old": "1"}
        claims = {key: size for key, size in (await here.books())["disk"].items() if not key.startswith("image/")}
        assert claims == {key: size for key, size in books["disk"].items() if not key.startswith("image/")}

        await here.api.done("ChangeVmImage", **call)
        now = await here.vm(vm.uuid)
        assert (now.image_uuid, now.platform, now.boot_mode) == (other, "Windows", "Uefi")
        volume = (await here.api.call("GetVolume", uuid=root)).inventory
        assert (volume.size, volume.image_uuid) == (3 * GIB, other)
        assert (await here.books())["disk"][root] == (here.host.host_uuid, 3 * GIB)
        assert await content(here, root) == {}
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        spec = here.host.world.vms[vm.uuid].spec
        assert (spec.platform, spec.boot_mode) == ("Windows", "Uefi")
        runs = await refused(here.api.call("ChangeVmImage", **{**call, "image_uuid": here.image}))
        assert (runs.reason, runs.message) == (
            "WRONG_STATE",
            f"cannot change the image of VM {vm.uuid}: it is Running; it must be Stopped",
        )

    on_ground(tmp_path, body)


def test_installed_from_an_iso(tmp_path: Path) -> None:
    """VM-06: an empty root volume of the size asked for, and the ISO in the first drive; reset leaves it empty."""

    async def body(here: Ground) -> None:
        iso = await add_image(here, "iso", format="Iso")
        error = await refused(here.api.call("CreateVmInstance", **here.fields(image_uuid=iso)))
        assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["root_disk_size"])
        vm = await here.create(image_uuid=iso, root_disk_size=2 * GIB)
        volume = (await here.api.call("GetVolume", uuid=vm.root_volume_uuid)).inventory
        assert (volume.size, volume.image_uuid) == (2 * GIB, "")
        assert here.host.world.volumes[volume.install_path].backing_path == ""
        assert drives(vm) == [(0, iso)]
        assert inside(here, vm.uuid) == [path for path in here.host.world.cache if path.endswith(".iso")]
        await here.api.done("DetachIsoFromVmInstance", vm_instance_uuid=vm.uuid, iso_uuid=iso)
        assert inside(here, vm.uuid) == [""]
        assert drives(await here.vm(vm.uuid)) == [(0, "")]
        await write(here, vm.root_volume_uuid, system="1")
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await here.api.done("ReimageVmInstance", vm_instance_uuid=vm.uuid)
        assert await content(here, vm.root_volume_uuid) == {}
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        await here.api.done("DeleteVmInstance", uuid=vm.uuid)
        await here.api.done("ExpungeVmInstance", uuid=vm.uuid)
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_isos_come_and_go(tmp_path: Path) -> None:
    """VM-06, VM-31: running and stopped, each in a drive of its own; a drive that fails keeps what it had."""

    async def body(here: Ground) -> None:
        first, second = await add_image(here, "one", format="Iso"), await add_image(here, "two", format="Iso")
        vm = await here.create()
        assert drives(vm) == [(0, "")]
        attach = {"vm_instance_uuid": vm.uuid, "iso_uuid": first}
        wrong = await refused(here.api.call("AttachIsoToVmInstance", **{**attach, "iso_uuid": here.image}))
        assert wrong.reason == "NOT_SUPPORTED"
        for task in ("CacheImageTask", "ChangeCdTask"):
            here.order(task)
            await here.failed("AttachIsoToVmInstance", **attach)
            assert drives(await here.vm(vm.uuid)) == [(0, "")]
            assert inside(here, vm.uuid) == [""]
        await here.api.done("AttachIsoToVmInstance", **attach)
        assert drives(await here.vm(vm.uuid)) == [(0, first)]
        assert first in inside(here, vm.uuid)[0]
        assert (await refused(here.api.call("AttachIsoToVmInstance", **attach))).reason == "ALREADY_ATTACHED"
        full = await refused(here.api.call("AttachIsoToVmInstance", **{**attach, "iso_uuid": second}))
        assert (full.code, full.reason) == ("FAILED_PRECONDITION", "STILL_IN_USE")
        assert (await refused(here.api.call("CreateVmCdRom", vm_instance_uuid=vm.uuid))).reason == "WRONG_STATE"

        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await here.api.done("CreateVmCdRom", vm_instance_uuid=vm.uuid)
        made = (await here.api.done("CreateVmCdRom", vm_instance_uuid=vm.uuid)).inventory
        assert (await refused(here.api.call("CreateVmCdRom", vm_instance_uuid=vm.uuid))).reason == "NOT_SUPPORTED"
        third = made.cd_roms[2].uuid
        await here.api.done("AttachIsoToVmInstance", **{**attach, "iso_uuid": second}, cd_rom_uuid=third)
        now = await here.vm(vm.uuid)
        assert drives(now) == [(0, first), (1, ""), (2, second)]
        held = await refused(here.api.call("DeleteVmCdRom", vm_instance_uuid=vm.uuid, cd_rom_uuid=third))
        assert held.reason == "STILL_IN_USE"
        await here.api.done("DeleteVmCdRom", vm_instance_uuid=vm.uuid, cd_rom_uuid=now.cd_roms[1].uuid)
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        assert [first in inside(here, vm.uuid)[0], second in inside(here, vm.uuid)[1]] == [True, True]

        # what lies in a drive is kept in the cache, also when the image is gone, and no longer
        await forget_image(here, second)
        await here.api.done("CleanUpImageCacheOnPrimaryStorage", uuid=here.storage)
        assert [path for path in here.host.world.cache if second in path]
        await here.api.done("DetachIsoFromVmInstance", vm_instance_uuid=vm.uuid, iso_uuid=second)
        await here.api.done("CleanUpImageCacheOnPrimaryStorage", uuid=here.storage)
        assert not [path for path in here.host.world.cache if second in path]

    on_ground(tmp_path, body)


def test_an_iso_that_is_deleted_is_taken_out_of_drives(tmp_path: Path) -> None:
    """IMG-09, VM-31: of VMs that run, are stopped, or lie in the recycle bin; of all, or the image stays."""

    async def body(here: Ground) -> None:
        iso = await add_image(here, "iso", format="Iso")
        vms = [await here.create(name=f"vm{n}") for n in range(3)]
        for vm in vms:
            await here.api.done("AttachIsoToVmInstance", vm_instance_uuid=vm.uuid, iso_uuid=iso)
        await here.api.done("StopVmInstance", uuid=vms[1].uuid)
        await here.api.done("DeleteVmInstance", uuid=vms[2].uuid)
        here.order("ChangeCdTask")
        job = await here.failed("DeleteImage", uuid=iso)
        assert "as ordered" in job.error
        image = (await here.api.call("GetImage", uuid=iso)).inventory
        assert image.status == image.STATUS_READY
        assert iso in inside(here, vms[0].uuid)[0]
        await here.api.done("DeleteImage", uuid=iso)
        assert inside(here, vms[0].uuid) == [""]
        assert [drives(await here.vm(vm.uuid)) for vm in vms] == [[(0, "")]] * 3
        image = (await here.api.call("GetImage", uuid=iso)).inventory
        assert image.status == image.STATUS_DELETED
        assert (await here.api.call("RecoverImage", uuid=iso)).job_uuid == ""

        # One that cannot follow keeps it only where that is what was asked for.
        await here.api.done("AttachIsoToVmInstance", vm_instance_uuid=vms[0].uuid, iso_uuid=iso)
        await here.api.done("AttachIsoToVmInstance", vm_instance_uuid=vms[1].uuid, iso_uuid=iso)
        here.order("ChangeCdTask")
        await here.api.done("DeleteImage", uuid=iso, delete_mode="enforcing")
        assert [drives(await here.vm(vm.uuid)) for vm in vms[:2]] == [[(0, iso)], [(0, "")]]

    on_ground(tmp_path, body)


def test_an_iso_that_goes_with_its_owner_is_taken_out_of_drives(tmp_path: Path) -> None:
    """VM-31: also of VMs of others, with whom it was shared."""

    async def body(here: Ground) -> None:
        iso = await add_image(here, "iso", format="Iso")
        owner, _ = await here.api.account("owner")
        await here.api.call("ChangeResourceOwner", resource_uuid=iso, account_uuid=owner)
        await here.api.call("ShareResource", resource_uuids=[iso], to_public=True)
        vm = await here.create()
        await here.api.done("AttachIsoToVmInstance", vm_instance_uuid=vm.uuid, iso_uuid=iso)
        assert iso in inside(here, vm.uuid)[0]
        await here.api.done("DeleteAccount", uuid=owner, delete_mode="enforcing")
        assert drives(await here.vm(vm.uuid)) == [(0, "")]
        assert inside(here, vm.uuid) == [""]
        error = await refused(here.api.call("GetImage", uuid=iso))
        assert error.code == "NOT_FOUND"

    on_ground(tmp_path, body)


def test_what_it_boots_with(tmp_path: Path) -> None:
    """VM-07, VM-08: from the next start on; the firmware comes from the image."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        for rpc, fields, field in (
            ("SetVmBootMode", {"boot_mode": "Coreboot"}, "boot_mode"),
            ("SetVmBootOrder", {"boot_order": ["Floppy"]}, "boot_order"),
            ("SetVmBootOrder", {"boot_order": ["CdRom", "CdRom"]}, "boot_order"),
        ):
            error = await refused(here.api.call(rpc, vm_instance_uuid=vm.uuid, **fields))
            assert (error.code, error.fields) == ("INVALID_ARGUMENT", [field])
        await here.api.call("SetVmBootMode", vm_instance_uuid=vm.uuid, boot_mode="Uefi")
        await here.api.call("SetVmBootOrder", vm_instance_uuid=vm.uuid, boot_order=["Network", "CdRom"])
        assert here.host.world.vms[vm.uuid].spec.boot_mode == "Legacy"
        await here.api.done("RebootVmInstance", uuid=vm.uuid)
        spec = here.host.world.vms[vm.uuid].spec
        assert (spec.boot_mode, list(spec.boot_order)) == ("Uefi", ["Network", "CdRom"])
        now = await here.vm(vm.uuid)
        assert (now.boot_mode, list(now.boot_order)) == ("Uefi", ["Network", "CdRom"])

    on_ground(tmp_path, body)


def test_more_cpus_and_memory(tmp_path: Path) -> None:
    """VM-33, for a VM that is stopped: from its next start on, with the host's books and the quota."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        grow = {"uuid": vm.uuid, "cpu_num": 4, "memory_size": 3 * GIB}
        error = await refused(here.api.call("UpdateVmInstance", **grow, name="other"))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "WRONG_STATE")
        assert (await here.vm(vm.uuid)).name == "web"
        await here.api.call("UpdateVmInstance", uuid=vm.uuid, name="other")
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await here.api.call("UpdateVmInstance", **grow)
        now = await here.vm(vm.uuid)
        assert (now.name, now.cpu_num, now.memory_size) == ("other", 4, 3 * GIB)
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        spec = here.host.world.vms[vm.uuid].spec
        assert (spec.cpu_num, spec.memory_size) == (4, 3 * GIB)
        assert (await here.books())["cpu"][vm.uuid] == (here.host.host_uuid, 4, 3 * GIB)

    on_ground(tmp_path, body)
