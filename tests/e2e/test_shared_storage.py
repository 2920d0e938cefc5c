"""Two hosts with files in common: a guest goes from one to the other while it runs (PS-03, PS-07, PS-08, VM-38)."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.machines import JOB_SECONDS, Site, running_site

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(2) as made:
        made.build()
        yield made


def answers(address: str) -> bool:
    argv = ["ping", "-q", "-c", "1", "-W", "1", address]
    return any(subprocess.run(argv, capture_output=True, check=False).returncode == 0 for _ in range(300))


def lost_and_found(site: Site) -> list[str]:
    """What the log says of hosts that could not use the storage, and could again."""
    events = site.admin.call("GetHistory", resource_uuid=site.uuids["ps"], page_size=1000).events
    topics = [event.type.rpartition(".")[2] for event in events]
    first = topics.index("HostLost") if "HostLost" in topics else len(topics)
    assert all("has ended" in event.reason for event in events[first : first + 1])
    return [topic for topic in topics[first:] if topic in ("HostLost", "HostMeasured")]


def test_a_guest_moves_with_its_disk_on_an_nfs_server(site: Site) -> None:
    clients = {site.admin.call("GetKvmHost", uuid=one.uuid).inventory.nfs_client for one in site.machines}
    assert len(clients) == 1
    assert clients <= {"Kernel", "UserSpace"}
    here, there = site.machines
    vm = site.vm(site.create_vm("mover", here).uuid)
    address = vm.vm_nics[0].ip
    assert (here.domains(), there.domains()) == ([vm.uuid], [])
    assert answers(address)
    boot = re.findall(r'boot="(\w+)"', here.virsh("dumpxml", vm.uuid))
    path = site.admin.call("GetVolume", uuid=vm.root_volume_uuid).inventory.install_path
    # Its file is on the server, and on no host's own disk.
    file = site.nfs.directory / Path(path).relative_to(f"/var/lib/zcloud/nfs/{site.uuids['ps']}")
    assert file.exists()
    assert not list((here.directory / "zcloud").rglob("*.qcow2"))

    site.done("MigrateVm", vm_instance_uuid=vm.uuid)
    assert (here.domains(), there.domains()) == ([], [vm.uuid])
    assert re.findall(r'boot="(\w+)"', there.virsh("dumpxml", vm.uuid)) == boot
    assert answers(address)
    assert site.vm(vm.uuid).host_uuid == there.uuid
    # Its new host works on its disk while it runs.
    snapshot = site.done("CreateVolumeSnapshot", name="moved", volume_uuid=vm.root_volume_uuid)
    site.done("DeleteVolumeSnapshot", uuid=snapshot.uuid)
    assert answers(address)
    site.done("StopVmInstance", uuid=vm.uuid, type="cold")
    path = site.admin.call("GetVolume", uuid=vm.root_volume_uuid).inventory.install_path
    if clients == {"UserSpace"}:
        # What stands in for the kernel was killed, with one before it that may still be ending: the host says so, and
        # mounts anew by itself.
        assert there.inside.kill("agents.storage.nfs.fuse") >= 1
        end = time.monotonic() + JOB_SECONDS
        while lost_and_found(site) != ["HostLost", "HostMeasured"]:
            assert time.monotonic() < end, lost_and_found(site)
            time.sleep(0.2)
    there.inside.run("qemu-img", "check", "-q", path)
    site.done("DeleteVmInstance", uuid=vm.uuid)
    site.done("ExpungeVmInstance", uuid=vm.uuid)
    assert not file.parent.exists()


def test_a_guest_moves_with_its_disk_on_a_shared_mount_point(site: Site) -> None:
    """The operator has mounted it on both hosts; here both see one directory of the machine that they run on.

    PS-17: the backup storage lies on the same share, and its image is copied there, not sent.
    """
    here, there = site.machines
    cluster, zone = site.uuids["cluster"], site.admin.call("GetCluster", uuid=site.uuids["cluster"]).inventory.zone_uuid
    mount = f"/var/lib/zcloud/nfs/{site.uuids['ps']}"
    for machine in (here, there):
        machine.inside.run("mountpoint", mount)
    site.done("DetachPrimaryStorageFromCluster", primary_storage_uuid=site.uuids["ps"], cluster_uuid=cluster)
    for machine in (here, there):
        assert mount.encode() not in machine.inside.run("cat", "/proc/self/mounts").stdout
        assert not machine.inside.run("ls", str(Path(mount).parent)).stdout
    assert not site.admin.call("QueryHostDebt").inventories
    shared = site.shared
    ps = site.done("AddSharedMountPointPrimaryStorage", name="smp", zone_uuid=zone, url=str(shared)).uuid
    site.done("AttachPrimaryStorageToCluster", primary_storage_uuid=ps, cluster_uuid=cluster)
    (backup,) = site.admin.call("QuerySftpBackupStorage").inventories
    site.done("UpdateSftpBackupStorage", uuid=backup.uuid, shared_primary_storage_uuid=ps, shared_path="images")
    vm = site.vm(site.create_vm("sharer", here).uuid)
    (cached,) = site.admin.call("QueryImageCache", filter=f"primary_storage_uuid = {ps}").inventories
    assert (cached.on_share, cached.volume_count, cached.host_uuid) == (True, 1, "")
    assert Path(cached.path).stat().st_size == cached.size
    address = vm.vm_nics[0].ip
    assert answers(address)
    boot = re.findall(r'boot="(\w+)"', here.virsh("dumpxml", vm.uuid))
    file = Path(site.admin.call("GetVolume", uuid=vm.root_volume_uuid).inventory.install_path)
    assert file.is_relative_to(shared)
    assert file.exists()
    site.done("MigrateVm", vm_instance_uuid=vm.uuid)
    assert (here.domains(), there.domains()) == ([], [vm.uuid])
    assert re.findall(r'boot="(\w+)"', there.virsh("dumpxml", vm.uuid)) == boot
    assert answers(address)
    site.done("StopVmInstance", uuid=vm.uuid, type="cold")
    site.done("DeleteVmInstance", uuid=vm.uuid)
    site.done("ExpungeVmInstance", uuid=vm.uuid)
    assert not file.exists()
