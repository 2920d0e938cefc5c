"""Data volumes at the door: made, attached, resized, detached, deleted, and what the books say (VOL-01..04, OFR-06)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.compute.ground import GIB, Ground, on_ground, refused

MIB = 1 << 20


async def volume(here: Ground, uuid: str) -> Any:
    return (await here.api.call("GetVolume", uuid=uuid)).inventory


def status(volume: Any) -> str:
    return str(volume.Status.Name(volume.status)).removeprefix("STATUS_")


async def data_volume(here: Ground, **fields: Any) -> Any:
    return (await here.api.done("CreateDataVolume", **{"name": "data", "disk_size": GIB, **fields})).inventory


def plugged(here: Ground, vm: str) -> list[str]:
    """Volumes that the running VM really has, by place."""
    disks = here.host.world.vms[vm].spec.disks
    return [disk.volume_uuid for disk in sorted(disks, key=lambda disk: disk.device_id)]


def test_life_of_a_data_volume(tmp_path: Path) -> None:
    """VOL-01, VOL-02, VOL-04, VM-10, OFR-06."""

    async def body(here: Ground) -> None:
        api = here.api
        vm = await here.create()
        offering = (await api.call("CreateDiskOffering", name="small", disk_size=GIB)).inventory
        made = (await api.call("CreateDataVolume", name="data", disk_offering_uuid=offering.uuid)).inventory
        assert (status(made), made.size, made.type) == ("NOT_INSTANTIATED", GIB, made.TYPE_DATA)
        assert made.uuid not in await here.volumes()

        await api.done("AttachDataVolumeToVm", volume_uuid=made.uuid, vm_instance_uuid=vm.uuid)
        found = await volume(here, made.uuid)
        assert (status(found), found.vm_instance_uuid, found.device_id) == ("READY", vm.uuid, 1)
        assert found.host_uuid == here.host.host_uuid
        assert plugged(here, vm.uuid) == [vm.root_volume_uuid, made.uuid]
        assert list((await here.vm(vm.uuid)).data_volume_uuids) == [made.uuid]
        assert (await here.books())["disk"][made.uuid] == (here.host.host_uuid, GIB)

        await api.done("ResizeDataVolume", uuid=made.uuid, size=2 * GIB)
        assert (await volume(here, made.uuid)).size == 2 * GIB
        assert (await here.books())["disk"][made.uuid][1] == 2 * GIB
        assert here.host.world.volumes[found.install_path].size == 2 * GIB
        await api.done("ResizeRootVolume", uuid=vm.root_volume_uuid, size=3 * GIB)
        assert (await volume(here, vm.root_volume_uuid)).size == 3 * GIB

        error = await refused(api.call("DeleteDataVolume", uuid=made.uuid))
        assert error.reason == "STILL_IN_USE"
        # What is plugged in is told to the next start as well.
        await api.done("RebootVmInstance", uuid=vm.uuid)
        assert plugged(here, vm.uuid) == [vm.root_volume_uuid, made.uuid]
        await api.done("DetachDataVolumeFromVm", uuid=made.uuid)
        assert plugged(here, vm.uuid) == [vm.root_volume_uuid]
        assert not (await here.vm(vm.uuid)).data_volume_uuids
        assert status(await volume(here, made.uuid)) == "READY"

        await api.done("DeleteDataVolume", uuid=made.uuid)
        assert status(await volume(here, made.uuid)) == "DELETED"
        assert (await refused(api.call("AttachDataVolumeToVm", volume_uuid=made.uuid, vm_instance_uuid=vm.uuid))).code
        await api.done("RecoverDataVolume", uuid=made.uuid)
        assert status(await volume(here, made.uuid)) == "READY"
        await api.done("DeleteDataVolume", uuid=made.uuid)
        await api.done("ExpungeDataVolume", uuid=made.uuid)
        assert (await refused(volume(here, made.uuid))).code == "NOT_FOUND"
        assert found.install_path not in here.host.world.volumes
        assert made.uuid not in await here.volumes()
        await api.call("UpdateDiskOffering", uuid=offering.uuid, name="tiny")
        assert (await api.call("GetDiskOffering", uuid=offering.uuid)).inventory.name == "tiny"
        await api.done("DeleteDiskOffering", uuid=offering.uuid)
        assert not (await api.call("QueryDiskOffering")).inventories

    on_ground(tmp_path, body)


def test_refusals_name_what_is_wrong(tmp_path: Path) -> None:
    """VOL-02, VOL-03: typed errors, and nothing changed."""

    async def body(here: Ground) -> None:
        api = here.api
        vm = await here.create()
        offering = (await api.call("CreateDiskOffering", name="small", disk_size=GIB)).inventory
        for fields, reason in (
            ({}, "INVALID_FIELD"),
            ({"disk_size": 5}, "INVALID_FIELD"),
            ({"disk_size": GIB, "disk_offering_uuid": offering.uuid}, "INVALID_FIELD"),
            ({"disk_size": GIB, "host_uuid": here.host.host_uuid}, "INVALID_FIELD"),
            ({"disk_size": 2000 * GIB, "primary_storage_uuid": here.storage}, "NO_STORAGE_AVAILABLE"),
        ):
            assert (await refused(api.call("CreateDataVolume", name="x", **fields))).reason == reason
        await api.call("ChangeDiskOfferingState", uuid=offering.uuid, state_event="disable")
        error = await refused(api.call("CreateDataVolume", name="x", disk_offering_uuid=offering.uuid))
        assert error.reason == "WRONG_STATE"

        made = await data_volume(here)
        attach = {"volume_uuid": made.uuid, "vm_instance_uuid": vm.uuid}
        assert (await refused(api.call("DetachDataVolumeFromVm", uuid=made.uuid))).reason == "NOT_ATTACHED"
        assert (await refused(api.call("ExpungeDataVolume", uuid=made.uuid))).reason == "WRONG_STATUS"
        assert (await refused(api.call("RecoverDataVolume", uuid=made.uuid))).reason == "WRONG_STATUS"
        assert (await refused(api.call("ResizeDataVolume", uuid=made.uuid, size=MIB))).reason == "INVALID_FIELD"
        assert (await refused(api.call("ResizeRootVolume", uuid=made.uuid, size=2 * GIB))).reason == "NOT_SUPPORTED"
        await api.call("ChangeVolumeState", uuid=made.uuid, state_event="disable")
        assert (await refused(api.call("AttachDataVolumeToVm", **attach))).reason == "WRONG_STATE"
        await api.call("ChangeVolumeState", uuid=made.uuid, state_event="enable")
        root = vm.root_volume_uuid
        for rpc in ("DeleteDataVolume", "DetachDataVolumeFromVm"):
            assert (await refused(api.call(rpc, uuid=root))).reason == "NOT_SUPPORTED"
        assert (await refused(api.call("ChangeVolumeState", uuid=root, state_event="disable"))).reason
        await api.done("AttachDataVolumeToVm", **attach)
        assert (await refused(api.call("AttachDataVolumeToVm", **attach))).reason == "ALREADY_ATTACHED"

    on_ground(tmp_path, body)


def test_a_volume_on_local_storage_stays_on_its_host(tmp_path: Path) -> None:
    """VOL-03: made at once on a storage, it lies on one host, and VMs of others cannot have it."""

    async def body(here: Ground) -> None:
        first, second = (host.host_uuid for host in here.hosts)
        vm = await here.create(host_uuid=first)
        far = await data_volume(here, primary_storage_uuid=here.storage, host_uuid=second)
        near = await data_volume(here, primary_storage_uuid=here.storage, host_uuid=first)
        assert [status(await volume(here, v.uuid)) for v in (far, near)] == ["READY", "READY"]
        call = here.api.call("AttachDataVolumeToVm", volume_uuid=far.uuid, vm_instance_uuid=vm.uuid)
        assert second in (await refused(call)).message
        await here.api.done("AttachDataVolumeToVm", volume_uuid=near.uuid, vm_instance_uuid=vm.uuid)
        # It stops with the VM, and outlives it (behaviours 9).
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await here.api.done("DeleteVmInstance", uuid=vm.uuid)
        assert (await volume(here, near.uuid)).vm_instance_uuid == ""
        await here.api.done("ExpungeVmInstance", uuid=vm.uuid)
        assert status(await volume(here, near.uuid)) == "READY"
        assert sorted(await here.volumes()) == sorted([far.uuid, near.uuid])

    on_ground(tmp_path, body, hosts=2)


def test_what_cannot_be_attached_is_as_before(tmp_path: Path) -> None:
    """VOL-02: a host that fails leaves a record that can be attached again, and no room claimed."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        made = await data_volume(here)
        for task in ("CreateDataVolumeTask", "AttachVolumeTask"):
            here.order(task)
            await here.failed("AttachDataVolumeToVm", volume_uuid=made.uuid, vm_instance_uuid=vm.uuid)
            found = await volume(here, made.uuid)
            assert (status(found), found.vm_instance_uuid) == ("NOT_INSTANTIATED", "")
            assert await here.volumes() == [vm.root_volume_uuid]
            assert plugged(here, vm.uuid) == [vm.root_volume_uuid]
        here.order("CreateDataVolumeTask")
        job = await here.failed("CreateDataVolume", name="x", disk_size=GIB, primary_storage_uuid=here.storage)
        assert (await refused(volume(here, job.resource_uuid))).code == "NOT_FOUND"
        await here.api.done("AttachDataVolumeToVm", volume_uuid=made.uuid, vm_instance_uuid=vm.uuid)
        here.order("DetachVolumeTask")
        await here.failed("DetachDataVolumeFromVm", uuid=made.uuid)
        assert plugged(here, vm.uuid) == [vm.root_volume_uuid, made.uuid]
        assert (await volume(here, made.uuid)).vm_instance_uuid == vm.uuid
        here.order("ResizeVolumeTask")
        await here.failed("ResizeDataVolume", uuid=made.uuid, size=2 * GIB)
        assert (await volume(here, made.uuid)).size == GIB
        assert (await here.books())["disk"][made.uuid][1] == GIB

    on_ground(tmp_path, body)


def test_a_vm_with_data_volumes_from_its_birth(tmp_path: Path) -> None:
    """VM-02, VOL-03: made with the VM or not at all."""

    async def body(here: Ground) -> None:
        offering = (await here.api.call("CreateDiskOffering", name="small", disk_size=GIB)).inventory.uuid
        big = (await here.api.call("CreateDiskOffering", name="big", disk_size=8 * GIB)).inventory.uuid
        fields = {"data_disk_offering_uuids": [offering], "data_disk_sizes": [2 * GIB], "root_disk_offering_uuid": big}
        here.order("StartVmTask")
        await here.failed("CreateVmInstance", **here.fields(**fields))
        await here.assert_nothing_left()
        assert not (await here.api.call("QueryVolume")).inventories
        vm = await here.create(**fields)
        assert [plugged(here, vm.uuid)[0], *vm.data_volume_uuids] == plugged(here, vm.uuid)
        assert [(await volume(here, uuid)).size for uuid in vm.data_volume_uuids] == [GIB, 2 * GIB]
        assert (await volume(here, vm.root_volume_uuid)).size == 8 * GIB
        later = await here.create(strategy="just_create", **fields)
        await here.api.done("StartVmInstance", uuid=later.uuid)
        assert len(plugged(here, later.uuid)) == 3
        bad = here.fields(root_disk_offering_uuid=offering, data_disk_sizes=[1])
        assert (await refused(here.api.call("CreateVmInstance", **bad))).reason == "INVALID_FIELD"

    on_ground(tmp_path, body)


def test_the_recycle_bin_is_emptied(tmp_path: Path) -> None:
    """VOL-02: with Direct at once; storages that are deleted take their volumes with them."""

    async def body(here: Ground) -> None:
        api = here.api
        await api.call("UpdateGlobalConfig", category="volume", name="deletionPolicy", value="Direct")
        gone = await data_volume(here, primary_storage_uuid=here.storage)
        await api.done("DeleteDataVolume", uuid=gone.uuid)
        assert (await refused(volume(here, gone.uuid))).code == "NOT_FOUND"
        vm = await here.create(data_disk_sizes=[GIB])
        await api.done("DeletePrimaryStorage", uuid=here.storage, delete_mode="enforcing")
        for uuid in (vm.root_volume_uuid, *vm.data_volume_uuids):
            assert (await refused(volume(here, uuid))).code == "NOT_FOUND"
        assert not here.host.world.volumes

    on_ground(tmp_path, body)
