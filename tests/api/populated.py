"""A cloud with one of everything: what an admin sets up, and a VM of an account on a simulated host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import qcow2
from tests.support.cloud import (
    Api,
    add_simulator,
    host_connected,
    running_node,
    simulated_hosts,
    simulator_cluster,
    until,
)
from zcloud.kernel.aggregate import by_kind


@dataclass
class Populated:
    """owner has the VM with all that is its; stranger has an account and nothing else. uuids: one by kind."""

    admin: Api
    owner: Api
    stranger: Api
    anonymous: Api
    owner_uuid: str
    stranger_uuid: str
    uuids: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, uuid: str) -> str:
        for one in by_kind(kind).kinds:  # type: ignore[attr-defined]
            self.uuids.setdefault(one, uuid)
        return uuid

    async def create_vm(self, api: Api, name: str) -> Any:
        """A VM of the account that this client is of."""
        return await api.done(
            "CreateVmInstance",
            name=name,
            instance_offering_uuid=self.uuids["instance_offering"],
            image_uuid=self.uuids["image"],
            l3_network_uuids=[self.uuids["l3_network"]],
        )


@contextlib.asynccontextmanager
async def populated(directory: Path, sshd: PrivateSshd) -> AsyncIterator[Populated]:
    """Everything is made through the API."""
    async with running_node(directory / "data") as admin:
        owner_uuid, owner = await admin.account("owner")
        stranger_uuid, stranger = await admin.account("stranger")
        made = Populated(admin, owner, stranger, Api(admin.node, admin.channel), owner_uuid, stranger_uuid)
        zone, cluster = await simulator_cluster(admin)
        made.add("zone", zone)
        made.add("cluster", cluster)
        host = await add_simulator(admin, cluster)
        made.add("simulator_host", host.host_uuid)
        async with simulated_hosts(admin, host):
            await host_connected(admin, host.host_uuid)
            await _storage(made, directory, sshd)
            await _network(made)
            vm = await made.create_vm(owner, "vm of the owner")
            found = (await owner.call("GetVmInstance", uuid=vm.inventory.uuid)).inventory
            made.add("vm_instance", found.uuid)
            made.add("job", vm.job_uuid)
            made.add("volume", found.root_volume_uuid)
            await _snapshots(made, found.uuid)
            made.add("account", owner_uuid)
            await _tags(made)
            await _scheduled(made, found.uuid)
            sessions = await owner.call("QuerySession")
            made.add("session", sessions.inventories[0].uuid)
            yield made


async def _tags(made: Populated) -> None:
    owner, vm = made.owner, made.uuids["vm_instance"]
    tag = await owner.call("CreateTag", name="tag of the owner")
    made.add("tag", tag.inventory.uuid)
    on = await owner.call("CreateUserTag", tag="lab1", resource_type="VmInstanceVO", resource_uuid=vm)
    made.add("user_tag", on.inventory.uuid)
    quotas = await owner.call("QueryQuota", filter="name = vm.num")
    made.add("quota", quotas.inventories[0].uuid)


async def _scheduled(made: Populated, vm: str) -> None:
    owner = made.owner
    yearly = (await owner.call("CreateScheduler", name="yearly", cron="0 0 1 1 *")).inventory.uuid
    made.add("scheduler", yearly)
    job = await owner.call(
        "CreateSchedulerJob",
        name="named anew",
        action="UpdateVmInstance",
        arguments='{"description": "by schedule"}',
        resource_uuids=[vm],
        scheduler_uuids=[yearly],
    )
    made.add("scheduler_job", job.inventory.uuid)
    runs = await owner.call("RunSchedulerNow", uuid=yearly)
    made.add("scheduler_occurrence", runs.occurrence_uuids[0])

    async def ended() -> bool:
        run = (await owner.call("GetSchedulerOccurrence", uuid=runs.occurrence_uuids[0])).inventory
        return run.state == run.STATE_SUCCEEDED

    await until(ended)
    # Nothing is sent: no zone is made any more.
    nothing = {"resource_kinds": ["zone"], "types": ["zone.Created"]}
    hook = await owner.call("CreateWebhook", name="hook", url="https://203.0.113.9/", secret="s" * 32, filter=nothing)
    made.add("webhook", hook.inventory.uuid)


async def _storage(made: Populated, directory: Path, sshd: PrivateSshd) -> None:
    admin, zone, cluster = made.admin, made.uuids["zone"], made.uuids["cluster"]
    local = await admin.done("AddLocalPrimaryStorage", name="local", zone_uuid=zone, url=str(directory / "local"))
    made.add("local_primary_storage", local.inventory.uuid)
    await admin.done("AttachPrimaryStorageToCluster", primary_storage_uuid=local.inventory.uuid, cluster_uuid=cluster)
    sftp = await admin.done(
        "AddSftpBackupStorage",
        name="sftp",
        url=str(directory / "sftp"),
        hostname="127.0.0.1",
        ssh_port=sshd.port,
        username="root",
        private_key=sshd.client_key,
    )
    made.add("sftp_backup_storage", sftp.inventory.uuid)
    await admin.done("AttachBackupStorageToZone", backup_storage_uuid=sftp.inventory.uuid, zone_uuid=zone)
    await admin.call("UpdateGlobalConfig", category="image", name="download.allowedPaths", value=str(directory))
    disk = qcow2(directory / "disk.qcow2")
    image = await made.owner.done("AddImage", name="image of the owner", url=f"file://{disk}", format="qcow2")
    made.add("image", image.inventory.uuid)


async def _snapshots(made: Populated, vm: str) -> None:
    group = await made.owner.done("CreateVolumeSnapshotGroup", vm_instance_uuid=vm, name="all of it")
    made.add("volume_snapshot_group", group.inventory.uuid)
    made.add("volume_snapshot", group.inventory.members[0].volume_snapshot_uuid)
    trees = await made.owner.call("QueryVolumeSnapshotTree")
    made.add("volume_snapshot_tree", trees.inventories[0].uuid)
    disks = (await made.admin.call("CreateDiskOffering", name="disk", disk_size=1 << 30)).inventory
    made.add("disk_offering", disks.uuid)
    await made.admin.call("ShareResource", resource_uuids=[disks.uuid], account_uuids=[made.owner_uuid])


async def _network(made: Populated) -> None:
    admin, zone, cluster = made.admin, made.uuids["zone"], made.uuids["cluster"]
    l2 = await admin.done("CreateL2NoVlanNetwork", name="l2", zone_uuid=zone, physical_interface="eth9")
    made.add("l2_no_vlan_network", l2.inventory.uuid)
    await admin.done("AttachL2NetworkToCluster", l2_network_uuid=l2.inventory.uuid, cluster_uuid=cluster)
    l3 = await admin.done("CreateL3Network", name="l3", l2_network_uuid=l2.inventory.uuid)
    made.add("l3_network", l3.inventory.uuid)
    added = await admin.done(
        "AddIpRangeByNetworkCidr", name="range", l3_network_uuid=l3.inventory.uuid, network_cidr="10.9.0.0/24"
    )
    made.add("ip_range", added.inventory.uuid)
    offering = await admin.done("CreateInstanceOffering", name="small", cpu_num=1, memory_size=128 << 20)
    made.add("instance_offering", offering.inventory.uuid)
    shared = [l3.inventory.uuid, offering.inventory.uuid]
    await admin.call("ShareResource", resource_uuids=shared, account_uuids=[made.owner_uuid])
