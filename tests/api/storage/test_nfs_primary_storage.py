"""NFS primary storages over a socket: hosts mount the export, and VMs start on any of them (PS-02, PS-07, CLU-12)."""

from __future__ import annotations

from pathlib import Path

from agents.simulator.directory import Directory
from tests.api.compute.ground import Ground, on_ground, refused

URL = "10.0.0.9:/exports/zcloud"


def test_hosts_mount_it_and_vms_move_on_it(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        made = await here.api.call(
            "AddNfsPrimaryStorage", name="nfs", zone_uuid=here.zone, url=URL, mount_options="hard"
        )
        nfs = made.inventory.uuid
        attach = {"primary_storage_uuid": nfs, "cluster_uuid": here.cluster}
        job = await here.failed("AttachPrimaryStorageToCluster", **attach)
        assert URL in job.error
        server = Directory(size=5 << 40)
        for host in here.hosts:
            host.world.exports[URL] = server
        await here.api.done("AttachPrimaryStorageToCluster", **attach)
        own = (await here.api.call("GetNfsPrimaryStorage", uuid=nfs)).inventory
        assert (own.type, own.url, own.mount_options, own.total_capacity) == ("NFS", URL, "hard", 5 << 40)
        found = (await here.api.call("QueryNfsPrimaryStorage", filter="type = NFS")).inventories
        assert [one.uuid for one in found] == [nfs]

        vm = await here.create(primary_storage_uuid=nfs)
        here.storage = nfs
        path = (await here.api.call("GetVolume", uuid=vm.root_volume_uuid)).inventory.install_path
        assert path.startswith(f"/var/lib/zcloud/nfs/{nfs}/")
        assert path in server.files["volumes"]
        await here.api.done("MigrateVm", vm_instance_uuid=vm.uuid)
        assert (await here.vm(vm.uuid)).host_uuid != vm.host_uuid
        clone = await here.api.done("CloneVmInstance", vm_instance_uuid=vm.uuid, name="copy")
        root = (await here.vm(clone.inventory.uuid)).root_volume_uuid
        assert root in "".join(server.files["volumes"])

        # beside local storage there is one NFS
        second = await here.api.call("AddNfsPrimaryStorage", name="second", zone_uuid=here.zone, url=f"{URL}2")
        call = {"primary_storage_uuid": second.inventory.uuid, "cluster_uuid": here.cluster}
        error = await refused(here.api.call("AttachPrimaryStorageToCluster", **call))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")
        assert '"second"' in error.message

    on_ground(tmp_path, body, hosts=2)


def test_an_export_is_one_storages_own(tmp_path: Path) -> None:
    """Cached images have the same path in both: to clean up one would take them from below the other's volumes."""

    async def body(here: Ground) -> None:
        first = (await here.api.call("AddNfsPrimaryStorage", name="one", zone_uuid=here.zone, url=URL)).inventory
        named = (
            await here.api.call("AddNfsPrimaryStorage", name="named", zone_uuid=here.zone, url="nfs1:/a")
        ).inventory
        for url, other in ((URL, first), ("NFS1:/a", named)):
            error = await refused(here.api.call("AddNfsPrimaryStorage", name="two", zone_uuid=here.zone, url=url))
            assert (error.code, error.reason) == ("FAILED_PRECONDITION", "OVERLAP"), url
            assert f'"{other.name}"' in error.message
        await here.api.done("DeletePrimaryStorage", uuid=first.uuid)
        await here.api.call("AddNfsPrimaryStorage", name="two", zone_uuid=here.zone, url=URL)

    on_ground(tmp_path, body)


def test_what_is_no_export(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        for url in ("", "/exports", "host", "host:exports", "host:/a/../b", "-o:/a", "ho st:/a", "host:/a b", "h:/a;x"):
            error = await refused(here.api.call("AddNfsPrimaryStorage", name="n", zone_uuid=here.zone, url=url))
            assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["url"]), url
        for options in ("-o", "a b", "a,,b", "a=b;c"):
            fields = {"name": "n", "zone_uuid": here.zone, "url": URL, "mount_options": options}
            error = await refused(here.api.call("AddNfsPrimaryStorage", **fields))
            assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["mount_options"]), options

    on_ground(tmp_path, body)
