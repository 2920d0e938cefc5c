"""Clones at the door: copies of one moment, nothing shared, and nothing left of one that failed (VM-24, VM-25)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import GIB, Ground, on_ground, refused


async def content(here: Ground, volume: str) -> dict[str, str]:
    """What is found in the file of a volume alone: a copy needs nothing below it."""
    path = (await here.api.call("GetVolume", uuid=volume)).inventory.install_path
    return here.host.world.volumes[path].data


async def write(here: Ground, volume: str, **data: str) -> None:
    (await content(here, volume)).update(data)


@pytest.mark.parametrize("before", ["RUNNING", "PAUSED", "STOPPED"])
def test_with_and_without_data_volumes(before: str, tmp_path: Path) -> None:
    """VM-24, VM-25, VM-07: in each state that there is, which the original keeps."""

    async def body(here: Ground) -> None:
        vm = await here.create(data_disk_sizes=[2 * GIB], cpu_num=2)
        root, data = vm.root_volume_uuid, vm.data_volume_uuids[0]
        await write(here, root, a="1", b="1")
        await here.api.done("CreateVolumeSnapshot", volume_uuid=root, name="s")
        await write(here, root, b="2")
        await write(here, data, c="3")
        await here.api.call("SetVmBootMode", vm_instance_uuid=vm.uuid, boot_mode="Uefi")
        if before != "RUNNING":
            await here.api.done({"PAUSED": "Pause", "STOPPED": "Stop"}[before] + "VmInstance", uuid=vm.uuid)
        made = await here.api.done("CloneVmInstance", vm_instance_uuid=vm.uuid, name="copy", full=True)
        clone = await here.vm(made.inventory.uuid)
        assert await here.state(vm.uuid) == before
        assert (clone.state, clone.boot_mode, clone.cpu_num) == (clone.STATE_RUNNING, "Uefi", 2)
        assert clone.image_uuid == vm.image_uuid
        assert clone.vm_nics[0].mac != vm.vm_nics[0].mac
        assert clone.vm_nics[0].ip not in ("", vm.vm_nics[0].ip)
        assert await content(here, clone.root_volume_uuid) == {"a": "1", "b": "2"}
        assert await content(here, clone.data_volume_uuids[0]) == {"c": "3"}
        await write(here, clone.root_volume_uuid, a="9")
        assert await content(here, root) == {"b": "2"}
        disks = here.host.world.vms[clone.uuid].spec.disks
        assert [(disk.volume_uuid, disk.device_id) for disk in disks] == [
            (clone.root_volume_uuid, 0),
            (clone.data_volume_uuids[0], 1),
        ]
        alone = await here.api.done(
            "CloneVmInstance", vm_instance_uuid=vm.uuid, name="alone", strategy="create_stopped"
        )
        assert list((await here.vm(alone.inventory.uuid)).data_volume_uuids) == []
        assert await here.state(alone.inventory.uuid) == "STOPPED"

        # a clone has snapshots, and is reset to the image, as any other VM
        root = clone.root_volume_uuid
        snapshot = (await here.api.done("CreateVolumeSnapshot", volume_uuid=root, name="s")).inventory.uuid
        await here.api.done("DeleteVolumeSnapshot", uuid=snapshot)
        await here.api.done("StopVmInstance", uuid=clone.uuid)
        await here.api.done("ReimageVmInstance", vm_instance_uuid=clone.uuid)
        assert await content(here, root) == {}

    on_ground(tmp_path, body)


@pytest.mark.parametrize("task", ["CopyVolumesTask", "StartVmTask"])
def test_one_that_fails_leaves_nothing(task: str, tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create(data_disk_sizes=[GIB])
        books, volumes = await here.books(), dict(here.host.world.volumes)
        here.order(task, "NO_SPACE", "the disk is full")
        job = await here.failed("CloneVmInstance", vm_instance_uuid=vm.uuid, name="copy", full=True)
        assert "the disk is full" in job.error
        assert await here.books() == books
        assert here.host.world.volumes == volumes
        assert (await here.api.call("QueryVmInstance", count=True)).total == 1
        assert (await here.api.call("QueryVolume", count=True)).total == 2

    on_ground(tmp_path, body)


def test_refused_while_there_is_nothing_to_copy_or_no_room(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        never = await here.create(strategy="just_create")
        clone = {"name": "copy"}
        error = await refused(here.api.call("CloneVmInstance", vm_instance_uuid=never.uuid, **clone))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "WRONG_STATE")
        vm = await here.create(data_disk_sizes=[here.host.world.disk_size * 2 // 3])
        call: dict[str, Any] = {"vm_instance_uuid": vm.uuid, **clone}
        assert (await refused(here.api.call("CloneVmInstance", **call, full=True))).code == "RESOURCE_EXHAUSTED"
        wrong = await refused(here.api.call("CloneVmInstance", **call, strategy="just_create"))
        assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["strategy"])

        # a volume that grows while the clone waits for its turn is not cut off
        here.host.pace.delay = 0.2
        root = vm.root_volume_uuid
        snapshot = await here.api.call("CreateVolumeSnapshot", volume_uuid=root, name="s")
        resize = await here.api.call("ResizeRootVolume", uuid=root, size=3 * GIB)
        late = await here.api.call("CloneVmInstance", **call)
        jobs = await asyncio.gather(*(here.api.wait(a.job_uuid) for a in (snapshot, resize, late)))
        assert [job.state == job.STATE_SUCCEEDED for job in jobs] == [True, True, False]
        assert "changed meanwhile" in jobs[2].error

    on_ground(tmp_path, body)
