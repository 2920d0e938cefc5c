"""Shared mount points over a socket: one file system on several hosts, VMs on any of them (PS-03, PS-08, CLU-10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.simulator.directory import Directory
from agents.simulator.host import SimulatedHost
from tests.api.compute.ground import GIB, Ground, on_ground, refused
from tests.api.operations.test_jobs import slow
from tests.support.cloud import simulated_hosts, until
from zcloud.domain.storage.local_primary_storage import LocalPrimaryStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.shared_mount_point_primary_storage import SharedMountPointPrimaryStorage
from zcloud.domain.storage.storage_combinations import must_combine
from zcloud.kernel.errors import Refused


def host_of(here: Ground, uuid: str) -> SimulatedHost:
    return next(host for host in here.hosts if host.host_uuid == uuid)


async def storage(here: Ground) -> Any:
    return (await here.api.call("GetPrimaryStorage", uuid=here.storage)).inventory


async def only(here: Ground, index: int) -> None:
    """Let no host but this one take VMs."""
    for number, host in enumerate(here.hosts):
        event = "enable" if number == index else "disable"
        await here.api.call("ChangeHostState", uuid=host.host_uuid, state_event=event)


def test_a_vm_starts_on_any_host_with_all_that_it_has(tmp_path: Path) -> None:
    """PS-03: its volumes, snapshots and room go with it; what is cached is cached once for all."""

    async def body(here: Ground) -> None:
        one, two = here.hosts
        found = await storage(here)
        assert (found.type, found.status) == ("SharedMountPoint", found.STATUS_CONNECTED)
        own = (await here.api.call("GetSharedMountPointPrimaryStorage", uuid=here.storage)).inventory
        assert (own.url, own.total_capacity) == ("/smp", found.total_capacity)
        shared = (await here.api.call("QuerySharedMountPointPrimaryStorage", filter="status = Connected")).inventories
        assert [one.uuid for one in shared] == [here.storage]
        assert found.total_capacity == one.world.mounts["/smp"].size
        await only(here, 0)
        vm = await here.create(data_disk_sizes=[GIB])
        root, data = vm.root_volume_uuid, vm.data_volume_uuids[0]
        snapshot = (await here.api.done("CreateVolumeSnapshot", volume_uuid=root, name="s")).inventory.uuid
        free = (await storage(here)).available_capacity
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        await only(here, 1)
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        assert (await here.vm(vm.uuid)).host_uuid == two.host_uuid
        assert [disk.volume_uuid for disk in two.world.vms[vm.uuid].spec.disks] == [root, data]
        assert not one.world.vms
        books = (await here.books())["disk"]
        for key in (root, data, f"snapshot/{snapshot}"):
            assert books[key][0] == two.host_uuid, key
        assert (await storage(here)).available_capacity == free
        # what works on the files is the host where it runs
        await here.api.done("DeleteVolumeSnapshot", uuid=snapshot)
        assert (await here.api.call("GetVolume", uuid=root)).inventory.host_uuid == two.host_uuid

        other = await here.create()
        assert (
            len(two.world.cache) == len([key for key in (await here.books())["disk"] if key.startswith("image/")]) == 1
        )
        # a data volume of a VM on the one host is attached to a VM on the other
        await here.api.done("StopVmInstance", uuid=other.uuid)
        await only(here, 0)
        await here.api.done("StartVmInstance", uuid=other.uuid)
        await here.api.done("DetachDataVolumeFromVm", uuid=data)
        await here.api.done("AttachDataVolumeToVm", volume_uuid=data, vm_instance_uuid=other.uuid)
        assert data in [disk.volume_uuid for disk in one.world.vms[other.uuid].spec.disks]
        assert (await here.books())["disk"][data][0] == one.host_uuid

        # a host that goes leaves what it worked on to the other
        await here.api.done("DeleteHost", uuid=two.host_uuid)
        assert {where for where, _ in (await here.books())["disk"].values()} == {one.host_uuid}
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        assert (await here.vm(vm.uuid)).host_uuid == one.host_uuid
        for uuid in (vm.uuid, other.uuid):
            await here.api.done("DeleteVmInstance", uuid=uuid)
            await here.api.done("ExpungeVmInstance", uuid=uuid)
        await here.api.call("DeleteDataVolume", uuid=data)
        await here.api.done("ExpungeDataVolume", uuid=data)
        assert not one.world.volumes
        assert [key for key in (await here.books())["disk"] if "/" not in key] == []

    on_ground(tmp_path, body, hosts=2, shared=True)


def test_room_is_counted_once_for_all_hosts(tmp_path: Path) -> None:
    """PS-18: what one host has claimed another cannot give away."""

    async def body(here: Ground) -> None:
        size = here.host.world.mounts["/smp"].size
        await only(here, 0)
        await here.create(data_disk_sizes=[size * 6 // 10])
        await only(here, 1)
        error = await refused(here.api.call("CreateVmInstance", **here.fields(data_disk_sizes=[size * 6 // 10])))
        assert error.code == "RESOURCE_EXHAUSTED"
        await here.create(data_disk_sizes=[size * 3 // 10])
        found = await storage(here)
        assert found.available_capacity == size - sum(n for _, n in (await here.books())["disk"].values())

    on_ground(tmp_path, body, hosts=2, shared=True)


def test_what_is_not_the_same_file_system_is_refused(tmp_path: Path) -> None:
    """PS-08: a host where it is not mounted, or something else is, does not take part."""

    async def body(here: Ground) -> None:
        one, two = here.hosts
        await here.api.call(
            "DetachPrimaryStorageFromCluster", primary_storage_uuid=here.storage, cluster_uuid=here.cluster
        )
        attach = {"primary_storage_uuid": here.storage, "cluster_uuid": here.cluster}
        for mounts, words in (({}, "mount the shared file system"), ({"/smp": Directory()}, "not the file system")):
            same = dict(two.world.mounts)
            two.world.mounts.clear()
            two.world.mounts.update(mounts)
            job = await here.failed("AttachPrimaryStorageToCluster", **attach)
            assert words in job.error
            assert list((await storage(here)).attached_cluster_uuids) == []
            two.world.mounts.clear()
            two.world.mounts.update(same)
        await here.api.done("AttachPrimaryStorageToCluster", **attach)
        two.world.mounts.clear()
        job = await here.failed("ReconnectPrimaryStorage", uuid=here.storage)
        assert "mount the shared file system" in job.error
        two.world.mounts["/smp"] = one.world.mounts["/smp"]
        one.world.mounts["/smp"].size *= 2
        await here.api.done("ReconnectPrimaryStorage", uuid=here.storage)
        assert (await storage(here)).total_capacity == one.world.mounts["/smp"].size

    on_ground(tmp_path, body, hosts=2, shared=True)


def test_it_is_connected_while_any_host_has_it(tmp_path: Path) -> None:
    """PS-18, PS-19: the size stays what it is, whichever hosts are there."""

    async def body(here: Ground) -> None:
        size = (await storage(here)).total_capacity
        await here.fleet.stop()

        async def is_connected(wanted: bool) -> bool:
            found = await storage(here)
            return (found.status == found.STATUS_CONNECTED) is wanted

        await until(lambda: is_connected(False))
        assert (await storage(here)).total_capacity == size
        async with simulated_hosts(here.api, here.hosts[1]):
            await until(lambda: is_connected(True))
            assert (await storage(here)).total_capacity == size

    on_ground(tmp_path, body, hosts=2, shared=True)


def test_nothing_is_done_while_it_is_reconnected(tmp_path: Path) -> None:
    """PS-19: neither with what lies there nor with what would."""

    async def body(here: Ground) -> None:
        vm = await here.create(data_disk_sizes=[GIB])
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        gate = await slow(here.host)
        reconnect = await here.api.call("ReconnectPrimaryStorage", uuid=here.storage)

        async def connecting() -> bool:
            found = await storage(here)
            return bool(found.status == found.STATUS_CONNECTING)

        await until(connecting)
        root = {"volume_uuid": vm.root_volume_uuid}
        for rpc, fields in (
            ("StartVmInstance", {"uuid": vm.uuid}),
            ("CreateVolumeSnapshot", {**root, "name": "s"}),
            ("CreateVmInstance", here.fields()),
        ):
            error = await refused(here.api.done(rpc, **fields))
            assert error.code in ("FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"), rpc
            assert "onnecting" in error.message or "being connected" in error.message, rpc
        gate()
        job = await here.api.wait(reconnect.job_uuid)
        assert job.state == job.STATE_SUCCEEDED, job
        assert not await connecting()
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        # one that cannot be reconnected is what it was: the host has it still, as far as is known
        here.order("PrepareSharedMountPointTask")
        await here.failed("ReconnectPrimaryStorage", uuid=here.storage)
        found = await storage(here)
        assert found.status == found.STATUS_CONNECTED

    on_ground(tmp_path, body, shared=True)


def made(kind: type[PrimaryStorage], name: str, type_: str) -> PrimaryStorage:
    it = kind.blank(name, 0)
    it.name, it.type = name, type_
    return it


@pytest.mark.parametrize(
    ("there", "new", "good"),
    [
        ("", "LocalStorage", True),
        ("LocalStorage LocalStorage", "LocalStorage", True),
        ("LocalStorage", "SharedMountPoint", True),
        ("SharedMountPoint", "LocalStorage", True),
        ("SharedMountPoint", "SharedMountPoint", False),
        ("LocalStorage LocalStorage", "SharedMountPoint", False),
        ("LocalStorage SharedMountPoint", "LocalStorage", False),
        ("NFS", "NFS", True),
        ("LocalStorage", "NFS", True),
        ("NFS", "SharedMountPoint", False),
        ("LocalStorage NFS", "NFS", False),
        ("LocalStorage SharedMountPoint", "NFS", False),
    ],
)
def test_which_go_together(there: str, new: str, good: bool) -> None:
    """CLU-07..CLU-12: an error names the two that do not."""
    kinds: dict[str, type[PrimaryStorage]] = {"LocalStorage": LocalPrimaryStorage}
    others = [made(kinds.get(t, SharedMountPointPrimaryStorage), f"{t}-{n}", t) for n, t in enumerate(there.split())]
    storage = made(kinds.get(new, SharedMountPointPrimaryStorage), "new", new)
    if good:
        must_combine("c", others, storage)
        return
    with pytest.raises(Refused) as error:
        must_combine("c", others, storage)
    assert '"new"' in error.value.message
    assert any(f'"{other.name}"' in error.value.message for other in others)
