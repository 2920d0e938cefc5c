"""One scenario or more for every workflow: what there is before, and what brings the workflow about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agents.simulator.world import DhcpServer, Vm
from tests.faults.harness.cloud import Run
from tests.faults.harness.grounds import GIB, HOST, vm_fields
from zcloud.domain.infrastructure.host_debt import OwedItem, debt_uuids
from zcloud.domain.network.l2_network import bridge_of
from zcloud.domain.storage.host_image_cache import HostImageCache
from zcloud.kernel.ids import derive
from zcloud.kernel.unit import Unit
from zcloud.processes.infrastructure.host_debt import owe
from zcloud.v1.vm_instance_task_pb2 import VmSpec

Act = Callable[[Run], Awaitable[str]]


@dataclass(frozen=True)
class Scenario:
    """act: gives the job's uuid."""

    name: str
    workflow: str
    ground: str
    act: Act


def calls(rpc: str, **fields: Any) -> Act:
    """One call; values that name something of the ground are looked up there."""

    async def act(run: Run) -> str:
        def value(v: Any) -> Any:
            return run.names[v[1:]] if isinstance(v, str) and v.startswith("$") else v

        answer = await run.call(rpc, **{name: value(v) for name, v in fields.items()})
        return str(answer.job_uuid)

    return act


def creates(**changes: Any) -> Act:
    """A VM."""

    async def act(run: Run) -> str:
        named = {k: run.names[v[1:]] if isinstance(v, str) and v.startswith("$") else v for k, v in changes.items()}
        return str((await run.call("CreateVmInstance", **vm_fields(run, "new", **named))).job_uuid)

    return act


def submits(workflow: str, on: str, **args: Any) -> Act:
    """A job that the node would order by itself."""

    async def act(run: Run) -> str:
        def value(v: Any) -> Any:
            return run.names[v[1:]] if isinstance(v, str) and v.startswith("$") else v

        found = {k: [value(i) for i in v] if isinstance(v, list) else value(v) for k, v in args.items()}
        if found.get("host_uuid") == "where it is":
            found["host_uuid"] = run.lake.fold.value(run.lake.fold.find(run.names[on]), "host_uuid")  # type: ignore[arg-type]
        return await run.submit(workflow, run.names[on], found)

    return act


async def strays(run: Run) -> str:
    """A VM of the recycle bin runs again on its old host, who knows why; its host says so."""
    uuid = run.names["vm"]
    host = next(h for h in run.hosts.values() if h.world.volumes)
    host.world.vms[uuid] = Vm(VmSpec(vm_instance_uuid=uuid, name="vm", memory_size=GIB), "Running")
    return await run.submit("stop_stray_vm_instance", uuid, {"host_uuid": host.uuid})


async def drops(run: Run) -> str:
    """The image in the cache of the only host that has one."""
    for host in run.hosts.values():
        for cached in run.lake.fold.companion(HostImageCache, host.uuid).cached_images:  # type: ignore[arg-type]
            args = {"primary_storage_uuid": cached.primary_storage_uuid, "name": cached.name}
            return await run.submit("drop_cached_image", host.uuid, args)
    raise AssertionError("no host has a cached image")


async def dies(run: Run) -> str:
    """A guest ends by itself, and its host is asked."""
    uuid = run.names["vm"]
    host = next(h for h in run.hosts.values() if h.world.vms)
    host.world.vms.pop(uuid)
    return await run.submit("read_vm_instance", uuid, {"host_uuid": host.uuid, "reason": "it was said to be gone"})


async def collects(run: Run) -> str:
    """A guest, a DHCP server and a bridge of the past, which the host owes since it was away when they should go."""
    vm, l3, l2 = (derive("of the past", kind) for kind in ("vm", "l3", "l2"))
    host = run.hosts[run.names["host1"]]
    host.world.vms[vm] = Vm(VmSpec(vm_instance_uuid=vm, name="past", memory_size=GIB), "Running")
    host.world.bridges[bridge_of(l2)] = "eth9"
    host.world.dhcp[l3] = DhcpServer(bridge_of(l2))
    items = [
        OwedItem("vm_instance", vm, reason="away"),
        OwedItem("l3_network", l3, bridge_of(l2), reason="away"),
        OwedItem("l2_network", l2, "eth9", reason="away"),
    ]

    async def body(unit: Unit) -> None:
        for item in items:
            await owe(unit, host.uuid, item)

    await run.decide(body)
    return await run.submit(
        "collect_host_debt", host.uuid, {"debt": debt_uuids(host.uuid).uuid, "items": [list(i.key) for i in items]}
    )


_vm = {"uuid": "$vm"}
SCENARIOS = [
    Scenario("add_host", "add_host", "hosts", calls(
        "AddKvmHost", name="host-3", management_ip="10.1.0.3", cluster_uuid="$cluster", **HOST)),
    Scenario("add_host_attached", "add_host", "running", calls(
        "AddKvmHost", name="host-3", management_ip="10.1.0.3", cluster_uuid="$cluster", **HOST)),
    Scenario("connect_host", "connect_host", "running", submits("connect_host", "host1")),
    Scenario("reconnect_host", "reconnect_host", "running", calls("ReconnectHost", uuid="$host1")),
    Scenario("delete_host", "delete_resource", "running", calls("DeleteHost", uuid="$host1")),
    Scenario("delete_host_of_vm", "delete_resource", "running", calls("DeleteHost", uuid="$host2")),
    Scenario("delete_zone", "delete_resource", "running", calls("DeleteZone", uuid="$zone")),
    Scenario("delete_cluster", "delete_resource", "stopped", calls("DeleteCluster", uuid="$cluster")),
    Scenario("delete_l3", "delete_resource", "attached", calls("DeleteL3Network", uuid="$l3")),
    Scenario("delete_l3_in_use", "detach_vm_nics", "stopped", calls(
        "DeleteL3Network", uuid="$l3", delete_mode="enforcing")),
    Scenario("detach_nics", "detach_vm_nics", "stopped", submits("detach_vm_nics", "vm", uuid="$l3")),
    Scenario("delete_l2", "delete_resource", "attached", calls("DeleteL2Network", uuid="$l2")),
    Scenario("delete_storage", "delete_resource", "stopped", calls(
        "DeletePrimaryStorage", uuid="$storage", delete_mode="enforcing")),
    Scenario("maintain_storage", "maintain_primary_storage", "running", calls(
        "ChangePrimaryStorageState", uuid="$storage", state_event="maintain")),
    Scenario("delete_backup", "delete_image_copy", "parts", calls("DeleteBackupStorage", uuid="$backup")),
    Scenario("delete_image_copy", "delete_image_copy", "parts", submits(
        "delete_image_copy", "image", backup_storage_uuid="$backup")),
    Scenario("attach_storage", "attach_primary_storage", "parts", calls(
        "AttachPrimaryStorageToCluster", primary_storage_uuid="$storage", cluster_uuid="$cluster")),
    Scenario("reconnect_storage", "reconnect_primary_storage", "attached", calls(
        "ReconnectPrimaryStorage", uuid="$storage")),
    Scenario("prepare_storages", "prepare_primary_storages", "attached", submits(
        "prepare_primary_storages", "host1", host="$host1", storages=["$storage"])),
    Scenario("detach_storage", "release_primary_storage", "on_nfs", calls(
        "DetachPrimaryStorageFromCluster", primary_storage_uuid="$storage", cluster_uuid="$cluster")),
    Scenario("delete_attached_nfs", "delete_resource", "on_nfs", calls(
        "DeletePrimaryStorage", uuid="$storage", delete_mode="enforcing")),
    Scenario("tell_network", "watch_storage_network", "on_nfs", submits(
        "watch_storage_network", "storage", hosts=["$host1", "$host2"], failed=[])),
    Scenario("attach_l2", "attach_l2_network", "parts", calls(
        "AttachL2NetworkToCluster", l2_network_uuid="$l2", cluster_uuid="$cluster")),
    Scenario("detach_l2", "detach_l2_network", "stopped", calls(
        "DetachL2NetworkFromCluster", l2_network_uuid="$l2", cluster_uuid="$cluster")),
    Scenario("add_backup", "add_backup_storage", "hosts", calls(
        "AddSftpBackupStorage", name="sftp", url="/zcloud/bs", hostname="sftp.invalid", **HOST)),
    Scenario("reconnect_backup", "reconnect_backup_storage", "parts", calls(
        "ReconnectBackupStorage", uuid="$backup")),
    Scenario("add_image", "add_image", "parts", calls(
        "AddImage", name="new", url="http://images.invalid/n.qcow2", format="qcow2", backup_storage_uuid="$backup")),
    Scenario("add_image_store", "add_backup_storage", "hosts", calls(
        "AddImageStoreBackupStorage", name="s", url="/zcloud/is", hostname="s.invalid", import_images=True, **HOST)),
    Scenario("recover_images", "recover_images", "image_store", calls(
        "RecoveryImageFromImageStoreBackupStorage", uuid="$image_store")),
    Scenario("reclaim_space", "reclaim_space", "image_store", calls(
        "ReclaimSpaceFromImageStore", uuid="$image_store")),
    Scenario("export_image", "export_image", "image_store", calls(
        "ExportImageFromBackupStorage", image_uuid="$image", backup_storage_uuid="$image_store")),
    Scenario("delete_export", "delete_exported_image", "exported", calls(
        "DeleteExportedImageFromBackupStorage", image_uuid="$image", backup_storage_uuid="$image_store")),
    Scenario("delete_image_store", "delete_resource", "exported", calls(
        "DeleteBackupStorage", uuid="$image_store")),
    Scenario("expunge_image", "expunge_image", "image_deleted", calls("ExpungeImage", uuid="$image")),
    Scenario("expunge_image_copies", "expunge_image_copies", "copy_deleted", calls("ExpungeImage", uuid="$image")),
    Scenario("delete_iso", "delete_image", "with_iso", calls("DeleteImage", uuid="$iso")),
    Scenario("delete_owned_iso", "delete_owned_image", "with_iso", submits(
        "delete_owned_image", "iso", kind="image", mode="Permissive")),
    Scenario("calculate_hash", "calculate_image_hash", "parts", calls(
        "CalculateImageHash", uuid="$image", backup_storage_uuid="$backup", algorithm="md5")),
    Scenario("sync_size", "sync_image_size", "parts", calls("SyncImageSize", uuid="$image")),
    Scenario("eject_iso", "eject_iso", "with_iso", submits("eject_iso", "vm", iso_uuid="$iso")),
    Scenario("copy_image", "copy_image", "two_backups", calls(
        "CopyImageToBackupStorage", uuid="$image", backup_storage_uuid="$backup2")),
    Scenario("clean_up_cache", "clean_up_image_cache", "garbage", calls(
        "CleanUpImageCacheOnPrimaryStorage", uuid="$storage")),
    Scenario("drop_cached_image", "drop_cached_image", "garbage", drops),
    Scenario("drop_upload", "drop_image_upload", "uploading", calls("DeleteImage", uuid="$upload")),
    Scenario("create_vm", "create_vm_instance", "attached", creates()),
    Scenario("create_stopped_vm", "create_vm_instance", "running", creates(strategy="create_stopped")),
    Scenario("start_vm", "start_vm_instance", "stopped", calls("StartVmInstance", **_vm)),
    Scenario("start_new_vm", "start_vm_instance", "just_created", calls("StartVmInstance", **_vm)),
    Scenario("stop_vm", "stop_vm_instance", "running", calls("StopVmInstance", **_vm)),
    Scenario("reboot_vm", "reboot_vm_instance", "running", calls("RebootVmInstance", **_vm)),
    Scenario("pause_vm", "pause_vm_instance", "running", calls("PauseVmInstance", **_vm)),
    Scenario("resume_vm", "resume_vm_instance", "paused", calls("ResumeVmInstance", **_vm)),
    Scenario("delete_vm", "destroy_vm_instance", "running", calls("DeleteVmInstance", **_vm)),
    Scenario("expunge_vm", "expunge_vm_instance", "destroyed", calls("ExpungeVmInstance", **_vm)),
    Scenario("create_vm_with_data", "create_vm_instance", "attached", creates(data_disk_sizes=[GIB, GIB])),
    Scenario("create_volume", "create_data_volume", "with_data", calls(
        "CreateDataVolume", name="new", disk_size=GIB, primary_storage_uuid="$storage")),
    Scenario("attach_record", "attach_data_volume", "with_data", calls(
        "AttachDataVolumeToVm", volume_uuid="$record", vm_instance_uuid="$vm")),
    Scenario("detach_volume", "detach_data_volume", "with_data", calls("DetachDataVolumeFromVm", uuid="$data")),
    Scenario("resize_volume", "resize_volume", "with_data", calls("ResizeDataVolume", uuid="$data", size=2 * GIB)),
    Scenario("expunge_volume", "expunge_volume", "volume_deleted", calls("ExpungeDataVolume", uuid="$free")),
    Scenario("snapshot_vm", "create_volume_snapshots", "with_data", calls(
        "CreateVolumeSnapshotGroup", vm_instance_uuid="$vm", name="g")),
    Scenario("revert_volume", "revert_volumes", "stopped_with_snapshots", calls(
        "RevertVolumeFromSnapshot", uuid="$s1")),
    Scenario("delete_snapshot", "delete_volume_snapshot", "with_snapshots", calls(
        "DeleteVolumeSnapshot", uuid="$s2")),
    Scenario("delete_newest", "delete_volume_snapshot", "with_snapshots", calls("DeleteVolumeSnapshot", uuid="$s3")),
    Scenario("reimage_vm", "reimage_vm_instance", "stopped", calls("ReimageVmInstance", vm_instance_uuid="$vm")),
    Scenario("change_vm_image", "reimage_vm_instance", "stopped_two_images", calls(
        "ChangeVmImage", vm_instance_uuid="$vm", image_uuid="$other")),
    Scenario("attach_iso", "attach_iso", "with_iso", calls(
        "AttachIsoToVmInstance", vm_instance_uuid="$vm", iso_uuid="$iso2")),
    Scenario("detach_iso", "detach_iso", "with_iso", calls(
        "DetachIsoFromVmInstance", vm_instance_uuid="$vm", iso_uuid="$iso")),
    Scenario("create_vm_from_iso", "create_vm_instance", "with_iso", creates(
        image_uuid="$iso2", root_disk_size=GIB)),
    Scenario("image_of_running", "create_image", "with_data", calls(
        "CreateRootVolumeTemplateFromRootVolume", name="i", root_volume_uuid="$root", backup_storage_uuid="$backup")),
    Scenario("image_of_snapshot", "create_image", "stopped_with_snapshots", calls(
        "CreateRootVolumeTemplateFromVolumeSnapshot", name="i", volume_snapshot_uuid="$s2",
        backup_storage_uuid="$backup")),
    Scenario("backup_vm", "create_image", "backed_up", calls(
        "CreateBackupImageFromVmInstance", name="b", vm_instance_uuid="$vm", rotation=1,
        backup_storage_uuid="$backup")),
    Scenario("retract_snapshot", "retract_volume_snapshot", "with_snapshots", submits(
        "retract_volume_snapshot", "vm", volume_uuid="$root", snapshot_uuid="$s3")),
    Scenario("volume_from_template", "create_data_volume_from_template", "with_template", calls(
        "CreateDataVolumeFromVolumeTemplate", name="v", image_uuid="$template", primary_storage_uuid="$storage")),
    Scenario("clone_vm", "clone_vm_instance", "with_data", calls(
        "CloneVmInstance", vm_instance_uuid="$vm", name="copy", full=True)),
    Scenario("copy_volumes", "copy_vm_volumes", "with_data", calls(
        "CloneVmInstance", vm_instance_uuid="$vm", name="copy")),
    Scenario("migrate_vm", "migrate_vm", "on_shared", calls("MigrateVm", vm_instance_uuid="$vm")),
    Scenario("collect_debt", "collect_host_debt", "running", collects),
    Scenario("read_vm", "read_vm_instance", "running", dies),
    Scenario("stop_stray_vm", "stop_stray_vm_instance", "destroyed", strays),
]  # fmt: skip
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
