"""What runs begin with: small clouds, made once through the API and forked for each run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache

from agents.simulator.directory import Directory
from tests.faults.harness.cloud import Run
from tests.faults.harness.loop import run as run_loop
from zcloud.api.first_start import make_known
from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.kernel.context import SYSTEM, Context

GIB = 1 << 30
HOST = {"username": "root", "password": "-", "ssh_port": 22}


async def empty(run: Run) -> None:
    """Zone and cluster."""
    assert run.node is not None
    await run.node.cloud.decide(Context(SYSTEM), lambda unit: make_known(unit, ADMIN_UUID))
    run.names["zone"] = (await run.call("CreateZone", name="z")).inventory.uuid
    made = await run.call("CreateCluster", name="c", zone_uuid=run.names["zone"], hypervisor_type="KVM")
    run.names["cluster"] = made.inventory.uuid


async def hosts(run: Run) -> None:
    """Two hosts."""
    for n in (1, 2):
        fields = {"name": f"host-{n}", "management_ip": f"10.1.0.{n}", **HOST}
        made = await run.done("AddKvmHost", cluster_uuid=run.names["cluster"], **fields)
        run.names[f"host{n}"] = made.inventory.uuid


async def parts(run: Run) -> None:
    """Storage, network and an image, nothing attached to the cluster."""
    n = run.names
    made = await run.call("AddLocalPrimaryStorage", name="local", zone_uuid=n["zone"], url="/zcloud/ps")
    n["storage"] = made.inventory.uuid
    fields = {"name": "sftp", "url": "/zcloud/bs", "hostname": "sftp.invalid", **HOST}
    n["backup"] = (await run.done("AddSftpBackupStorage", **fields)).inventory.uuid
    await run.call("AttachBackupStorageToZone", backup_storage_uuid=n["backup"], zone_uuid=n["zone"])
    made = await run.done(
        "AddImage", name="linux", url="http://images.invalid/l.qcow2", format="qcow2", backup_storage_uuid=n["backup"]
    )
    n["image"] = made.inventory.uuid
    made = await run.call("CreateL2NoVlanNetwork", name="l2", zone_uuid=n["zone"], physical_interface="eth1")
    n["l2"] = made.inventory.uuid
    n["l3"] = (await run.call("CreateL3Network", name="flat", l2_network_uuid=n["l2"])).inventory.uuid
    made = await run.call("AddIpRangeByNetworkCidr", name="r", l3_network_uuid=n["l3"], network_cidr="10.0.0.0/24")
    n["range"] = made.inventory.uuid


async def attached(run: Run) -> None:
    """All that a VM needs."""
    n = run.names
    await run.done("AttachPrimaryStorageToCluster", primary_storage_uuid=n["storage"], cluster_uuid=n["cluster"])
    await run.done("AttachL2NetworkToCluster", l2_network_uuid=n["l2"], cluster_uuid=n["cluster"])


def vm_fields(run: Run, name: str = "vm", **changes: object) -> dict[str, object]:
    """Of a CreateVmInstance that works."""
    return {
        "name": name,
        "cpu_num": 1,
        "memory_size": GIB,
        "image_uuid": run.names["image"],
        "l3_network_uuids": [run.names["l3"]],
        **changes,
    }


async def running(run: Run) -> None:
    """A VM that runs."""
    run.names["vm"] = (await run.done("CreateVmInstance", **vm_fields(run))).inventory.uuid


def on_vm(*verbs: str) -> Callable[[Run], Awaitable[None]]:
    """The VM after these calls."""

    async def act(run: Run) -> None:
        for verb in verbs:
            await run.done(f"{verb}VmInstance", uuid=run.names["vm"])

    return act


async def with_data(run: Run) -> None:
    """A VM that runs, with a data volume, and a data volume that nobody has."""
    n = run.names
    made = await run.done("CreateVmInstance", **vm_fields(run, data_disk_sizes=[GIB]))
    n["vm"] = made.inventory.uuid
    n["root"] = made.inventory.root_volume_uuid
    n["data"] = made.inventory.data_volume_uuids[0]
    made = await run.done("CreateDataVolume", name="free", disk_size=GIB, primary_storage_uuid=n["storage"])
    n["free"] = made.inventory.uuid
    n["record"] = (await run.call("CreateDataVolume", name="record", disk_size=GIB)).inventory.uuid


async def with_snapshots(run: Run) -> None:
    """Three snapshots of the running VM's root volume, on each other."""
    for number in (1, 2, 3):
        made = await run.done("CreateVolumeSnapshot", volume_uuid=run.names["root"], name=f"s{number}")
        run.names[f"s{number}"] = made.inventory.uuid


async def backed_up(run: Run) -> None:
    """The VM has a backup."""
    fields = {"vm_instance_uuid": run.names["vm"], "backup_storage_uuid": run.names["backup"]}
    await run.done("CreateBackupImageFromVmInstance", name="b", **fields)


async def with_template(run: Run) -> None:
    """A template of the free data volume."""
    fields = {"volume_uuid": run.names["free"], "backup_storage_uuid": run.names["backup"]}
    made = await run.done("CreateDataVolumeTemplateFromVolume", name="t", **fields)
    run.names["template"] = made.inventory.uuid


async def volume_deleted(run: Run) -> None:
    """The free data volume, with a snapshot, lies in the recycle bin."""
    await run.done("CreateVolumeSnapshot", volume_uuid=run.names["free"], name="s")
    await run.call("DeleteDataVolume", uuid=run.names["free"])


async def image_deleted(run: Run) -> None:
    """The image lies in the recycle bin."""
    await run.call("DeleteImage", uuid=run.names["image"])


async def garbage(run: Run) -> None:
    """A cached image that is gone, and nothing made from it."""
    await run.done("ExpungeVmInstance", uuid=run.names["vm"])
    await run.call("DeleteImage", uuid=run.names["image"])
    await run.done("ExpungeImage", uuid=run.names["image"])


async def two_backups(run: Run) -> None:
    """One more backup storage."""
    fields = {"name": "second", "url": "/zcloud/bs2", "hostname": "second.invalid", **HOST}
    run.names["backup2"] = (await run.done("AddSftpBackupStorage", **fields)).inventory.uuid


async def copy_deleted(run: Run) -> None:
    """One of the image's copies lies in the recycle bin."""
    n = run.names
    await run.done("CopyImageToBackupStorage", uuid=n["image"], backup_storage_uuid=n["backup2"])
    await run.call("DeleteImage", uuid=n["image"], backup_storage_uuids=[n["backup2"]])


async def image_store(run: Run) -> None:
    """An image store that has the image as well."""
    fields = {"name": "store", "url": "/zcloud/is", "hostname": "store.invalid", **HOST}
    n = run.names
    n["image_store"] = (await run.done("AddImageStoreBackupStorage", **fields)).inventory.uuid
    await run.done("CopyImageToBackupStorage", uuid=n["image"], backup_storage_uuid=n["image_store"])


async def exported(run: Run) -> None:
    """And gives it to anybody."""
    n = run.names
    await run.done("ExportImageFromBackupStorage", image_uuid=n["image"], backup_storage_uuid=n["image_store"])


async def uploading(run: Run) -> None:
    """An image that waits for its file."""
    fields = {"name": "upload", "url": "upload://u.qcow2", "format": "qcow2", "size": GIB}
    made = await run.call("AddImage", backup_storage_uuid=run.names["backup"], **fields)
    run.names["upload"] = made.inventory.uuid


async def add_image(run: Run, name: str, **fields: object) -> str:
    """One more image."""
    made = await run.done(
        "AddImage", name=name, backup_storage_uuid=run.names["backup"], url=f"http://images.invalid/{name}", **fields
    )
    return str(made.inventory.uuid)


async def stopped_two_images(run: Run) -> None:
    """A VM that is stopped, and an image that it was not made from."""
    run.names["other"] = await add_image(run, "o.qcow2", format="qcow2")


async def with_iso(run: Run) -> None:
    """A VM that runs with one ISO in its drives, an empty drive, and an ISO that nobody has."""
    n = run.names
    n["iso"], n["iso2"] = [await add_image(run, name, format="iso") for name in ("one.iso", "two.iso")]
    await run.call("CreateVmCdRom", vm_instance_uuid=n["vm"])
    await run.done("AttachIsoToVmInstance", vm_instance_uuid=n["vm"], iso_uuid=n["iso"])
    await run.done("StartVmInstance", uuid=n["vm"])


async def on_shared(run: Run) -> None:
    """A VM that runs, on a file system that both hosts have mounted."""
    n = run.names
    directory = Directory()
    for host in run.hosts.values():
        host.world.mounts["/smp"] = directory
    made = await run.call("AddSharedMountPointPrimaryStorage", name="smp", zone_uuid=n["zone"], url="/smp")
    n["storage"] = made.inventory.uuid
    await attached(run)
    await running(run)


async def on_nfs(run: Run) -> None:
    """Both hosts have mounted an export, and look at each other on its network."""
    n, url = run.names, "10.9.0.9:/export"
    server = Directory()
    for number, host in enumerate(run.hosts.values(), 1):
        host.world.exports[url] = server
        host.world.addresses = (f"10.9.0.{number}",)
    fields = {"name": "nfs", "zone_uuid": n["zone"], "url": url, "storage_network_cidr": "10.9.0.0/24"}
    n["storage"] = (await run.call("AddNfsPrimaryStorage", **fields)).inventory.uuid
    await run.done("AttachPrimaryStorageToCluster", primary_storage_uuid=n["storage"], cluster_uuid=n["cluster"])


async def just_created(run: Run) -> None:
    """A VM that no host ever knew."""
    made = await run.call("CreateVmInstance", **vm_fields(run, strategy="just_create"))
    run.names["vm"] = made.inventory.uuid


GROUNDS: dict[str, tuple[str, Callable[[Run], Awaitable[None]] | None]] = {
    "nothing": ("", None),
    "empty": ("nothing", empty),
    "hosts": ("empty", hosts),
    "parts": ("hosts", parts),
    "attached": ("parts", attached),
    "running": ("attached", running),
    "just_created": ("attached", just_created),
    "stopped": ("running", on_vm("Stop")),
    "paused": ("running", on_vm("Pause")),
    "destroyed": ("running", on_vm("Delete")),
    "with_data": ("attached", with_data),
    "with_snapshots": ("with_data", with_snapshots),
    "stopped_with_snapshots": ("with_snapshots", on_vm("Stop")),
    "backed_up": ("with_data", backed_up),
    "with_template": ("with_data", with_template),
    "volume_deleted": ("with_data", volume_deleted),
    "stopped_two_images": ("stopped", stopped_two_images),
    "with_iso": ("stopped", with_iso),
    "on_shared": ("parts", on_shared),
    "on_nfs": ("hosts", on_nfs),
    "image_deleted": ("parts", image_deleted),
    "garbage": ("destroyed", garbage),
    "two_backups": ("parts", two_backups),
    "copy_deleted": ("two_backups", copy_deleted),
    "image_store": ("parts", image_store),
    "exported": ("image_store", exported),
    "uploading": ("parts", uploading),
}


@lru_cache
def ground(name: str) -> Run:
    """Made once; fork it with Run(ground(...))."""
    before, act = GROUNDS[name]
    if act is None:
        return Run()
    made = Run(ground(before))

    async def live() -> None:
        await made.start()
        await made.quiet()
        await act(made)
        assert await made.quiet(), "the ground does not come to rest"
        made.halt()

    run_loop(live())
    return made
