"""Requests that are right and that chance would not find: several fields must go together, or with what is there."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tests.api.populated import Populated

Hints = list[tuple[str, dict[str, Any]]]


async def hints(made: Populated, bare: str) -> Hints:
    """By RPC its fields; what they are about is made here, where it was not yet. bare: a cluster without hosts."""
    return [*await _networks(made, bare), *await _storages(made, bare), *await _vms(made), *await _others(made)]


async def _networks(made: Populated, bare: str) -> Hints:
    admin, l3 = made.admin, {"l3_network_uuid": made.uuids["l3_network"]}
    other = (await admin.call("CreateL3Network", name="empty", l2_network_uuid=made.uuids["l2_network"])).inventory
    zone = (await admin.call("GetCluster", uuid=bare)).inventory.zone_uuid
    l2 = await admin.call("CreateL2NoVlanNetwork", name="attached", zone_uuid=zone, physical_interface="eth7")
    attached = {"l2_network_uuid": l2.inventory.uuid, "cluster_uuid": bare}
    await admin.done("AttachL2NetworkToCluster", **attached)
    await admin.call("AddDnsToL3Network", dns="10.9.0.7", **l3)
    free = {"name": "free", "l3_network_uuid": other.uuid}
    mask = {"netmask": "255.255.255.0", "gateway": "10.60.0.1"}
    return [
        ("AddIpRange", {"start_ip": "10.60.0.10", "end_ip": "10.60.0.20", **mask, **free}),
        ("AddIpRangeByNetworkCidr", {"network_cidr": "10.50.0.0/24", **free}),
        ("DetachL2NetworkFromCluster", attached),
        ("RemoveDnsFromL3Network", {"dns": "10.9.0.7", **l3}),
    ]


async def _storages(made: Populated, bare: str) -> Hints:
    admin = made.admin
    nfs = (await admin.call("QueryNfsPrimaryStorage")).inventories[0]
    attached = {"primary_storage_uuid": nfs.uuid, "cluster_uuid": bare}
    await admin.done("AttachPrimaryStorageToCluster", **attached)
    first, second = (await admin.call("QueryImageStoreBackupStorage", order_by="name")).inventories
    image = (await admin.call("QueryImage", filter="name = root")).inventories[0].uuid
    data = (await admin.call("QueryImage", filter="name = data")).inventories[0].uuid
    copy = {"image_uuid": image, "backup_storage_uuid": first.uuid}
    stores = {"src_backup_storage_uuid": first.uuid, "dst_backup_storage_uuid": second.uuid}
    coming = (await admin.call("QueryImage", filter="name = upload")).inventories[0].uuid
    volume = {"name": "made", "primary_storage_uuid": made.uuids["primary_storage"]}
    access = {"hostname": "other.invalid", "username": "root", "password": "-"}
    return [
        ("AddImageStoreBackupStorage", {"name": "other", "url": "/zcloud/other", **access}),
        ("AddSftpBackupStorage", {"name": "other", "url": "/zcloud/others", **access}),
        ("AddNfsPrimaryStorage", {"name": "n", "zone_uuid": nfs.zone_uuid, "url": "203.0.113.9:/exports/other"}),
        ("CopyImageToBackupStorage", {"uuid": image, "backup_storage_uuid": second.uuid}),
        ("CreateDataVolumeFromVolumeTemplate", {"image_uuid": data, **volume}),
        ("DeleteExportedImageFromBackupStorage", copy),
        ("DetachPrimaryStorageFromCluster", attached),
        ("ExportImageFromBackupStorage", copy),
        ("RecoveryImageFromImageStoreBackupStorage", {"uuid": first.uuid, "image_uuids": [image]}),
        ("SyncImageFromImageStoreBackupStorage", {"image_uuid": image, **stores}),
        ("UploadImage", {"uuid": coming, "data": b"some"}),
    ]


async def _vms(made: Populated) -> Hints:
    admin, owner, running = made.admin, made.owner, {"vm_instance_uuid": made.uuids["vm_instance"]}
    loose = await owner.call("CreateDataVolume", name="loose", disk_offering_uuid=made.uuids["disk_offering"])
    iso = (await admin.call("QueryImage", filter="name = disc")).inventories[0].uuid
    stopped = (await owner.call("QueryVmInstance", filter="name = Stop")).inventories[0].uuid
    plain = (await made.create_vm(owner, "without snapshots")).inventory.uuid
    await owner.done("StopVmInstance", uuid=plain)
    paused = (await owner.call("QueryVmInstance", filter="name = Pause")).inventories[0].uuid
    gone = (await admin.call("QueryVolume", filter="status = Deleted AND type = Data")).inventories[0].uuid
    root = (await admin.call("QueryImage", filter="name = root")).inventories[0].uuid
    drives = (await owner.call("CreateVmCdRom", vm_instance_uuid=stopped)).inventory.cd_roms
    full = {"vm_instance_uuid": (await admin.call("QueryVmInstance", filter="name = movable")).inventories[0].uuid}
    await admin.done("AttachIsoToVmInstance", iso_uuid=iso, **full)
    image, offering = made.uuids["image"], made.uuids["instance_offering"]
    size = {"instance_offering_uuid": offering, "l3_network_uuids": [made.uuids["l3_network"]]}
    return [
        ("AttachDataVolumeToVm", {"volume_uuid": loose.inventory.uuid, **running}),
        ("AttachIsoToVmInstance", {"iso_uuid": iso, **running}),
        ("ChangeResourceOwner", {"resource_uuid": loose.inventory.uuid, "account_uuid": made.stranger_uuid}),
        ("ChangeVmImage", {"vm_instance_uuid": plain, "image_uuid": root}),
        ("DeleteVmCdRom", {"vm_instance_uuid": stopped, "cd_rom_uuid": drives[-1].uuid}),
        ("DetachIsoFromVmInstance", {"iso_uuid": iso, **full}),
        ("ExpungeDataVolume", {"uuid": gone}),
        ("GetAllocationReport", {"image_uuid": image, **size}),
        ("ResizeDataVolume", {"uuid": loose.inventory.uuid, "size": 64 << 30}),
        ("ResumeVmInstance", {"uuid": paused}),
    ]


async def _others(made: Populated) -> Hints:
    configured = (await made.admin.call("QueryResourceConfig", page_size=1)).inventories[0]
    setting = {name: getattr(configured, name) for name in ("resource_uuid", "category", "name")}
    jobs = (await made.admin.call("QueryJob", filter="state = Stuck OR state = Running", order_by="state")).inventories
    running, stuck = [{"uuid": job.uuid} for job in jobs]
    anywhere = {"category": "image", "name": "expungeInterval"}
    span = {"from_time": Timestamp(seconds=1_700_000_000), "to_time": Timestamp(seconds=1_740_000_000)}
    return [
        ("BackfillScheduler", {"uuid": made.uuids["scheduler"], **span}),
        ("CancelJob", running),
        ("DeleteResourceConfig", setting),
        ("GetResourceConfig", setting),
        ("GetSchedulerExecutionReport", {"period": "month", **span}),
        ("LogInByAccount", {"account_name": "stranger", "password": "a password of its own"}),
        ("ResetGlobalConfig", anywhere),
        ("RetryJob", stuck),
        ("SkipJobStep", stuck),
        ("UpdateGlobalConfig", {"value": "7200", **anywhere}),
        ("UpdateQuota", {"identity_uuid": made.owner_uuid, "name": "vm.num", "value": 7}),
    ]
