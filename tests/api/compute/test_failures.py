"""What fails on hosts: a creation leaves nothing, another operation leaves the VM as it was or as it really is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.compute.ground import Ground, on_ground, refused

STEPS = ("CacheImageTask", "CreateRootVolumeTask", "ApplyDhcpTask", "StartVmTask")


@pytest.mark.parametrize("task", STEPS)
def test_a_creation_that_fails_leaves_nothing(tmp_path: Path, task: str) -> None:
    async def body(here: Ground) -> None:
        uuid = "a" * 32
        here.order(task, words="the disk is on fire")
        job = await here.failed("CreateVmInstance", **here.fields(resource_uuid=uuid))
        assert "the disk is on fire" in job.error
        assert (await refused(here.vm(uuid))).code == "NOT_FOUND"
        assert (await here.api.call("QueryVolume", count=True)).total == 0
        await here.assert_nothing_left(cached=task != "CacheImageTask")
        vm = await here.create(resource_uuid=uuid)  # the uuid is free again
        assert (vm.uuid, vm.state) == (uuid, vm.STATE_RUNNING)

    on_ground(tmp_path, body)


def test_a_creation_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        here.host.pace.delay = 0.4
        made = await here.api.call("CreateVmInstance", **here.fields())
        await here.api.call("CancelJob", uuid=made.job_uuid)
        job = await here.api.wait(made.job_uuid)
        assert job.state == job.STATE_CANCELED
        assert (await refused(here.vm(made.inventory.uuid))).code == "NOT_FOUND"
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_create_stopped_that_cannot_be_stopped_leaves_nothing(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        here.order("StopVmTask")
        await here.failed("CreateVmInstance", **here.fields(strategy="CREATE_STOPPED"))
        await here.assert_nothing_left(cached=True)

    on_ground(tmp_path, body)


@pytest.mark.parametrize("task", ["ApplyDhcpTask", "StartVmTask"])
def test_a_start_that_fails_changes_nothing(tmp_path: Path, task: str) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        before, books = await here.vm(vm.uuid), await here.books()
        here.order(task, words="no luck")
        await here.failed("StartVmInstance", uuid=vm.uuid)
        after = await here.vm(vm.uuid)
        assert "no luck" in after.state_reason
        assert (after.state, after.host_uuid, after.last_host_uuid) == (before.state, "", before.last_host_uuid)
        assert await here.books() == books
        assert not here.host.world.vms
        assert not here.host.world.dhcp[here.l3].entries
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        assert await here.state(vm.uuid) == "RUNNING"

    on_ground(tmp_path, body)


def test_a_first_start_that_fails_gives_the_volume_back(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = (await here.api.call("CreateVmInstance", **here.fields(strategy="JUST_CREATE"))).inventory
        for task in ("CacheImageTask", "CreateRootVolumeTask", "StartVmTask"):
            here.order(task)
            await here.failed("StartVmInstance", uuid=vm.uuid)
            assert await here.state(vm.uuid) == "CREATED"
            assert (await here.volumes(), (await here.books())["cpu"]) == ([], {})
            assert not here.host.world.volumes
            volume = (await here.api.call("GetVolume", uuid=vm.root_volume_uuid)).inventory
            assert (volume.status, volume.install_path) == (volume.STATUS_NOT_INSTANTIATED, "")
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        assert await here.volumes() == [vm.root_volume_uuid]

    on_ground(tmp_path, body)


@pytest.mark.parametrize(
    ("rpc", "task"),
    [
        ("StopVmInstance", "StopVmTask"),
        ("RebootVmInstance", "RebootVmTask"),
        ("PauseVmInstance", "PauseVmTask"),
        ("DeleteVmInstance", "StopVmTask"),
    ],
)
def test_the_host_is_asked_what_is_really_so(tmp_path: Path, rpc: str, task: str) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        books = await here.books()
        here.order(task, words="not now")
        await here.failed(rpc, uuid=vm.uuid)
        read = await here.vm(vm.uuid)
        assert read.state == read.STATE_RUNNING
        assert "not now" in read.state_reason
        assert await here.books() == books

        # neither the task nor the question is answered: nobody knows, until the host says so by itself
        here.order(task)
        here.order("ReadVmTask")
        await here.failed(rpc, uuid=vm.uuid)
        assert await here.state(vm.uuid) == "UNKNOWN"
        assert await here.books() == books, "what may run keeps its claim"

        # it has gone meanwhile: that is what the host answers
        here.host.world.changes.put_nowait(here.host.world.inventory())
        await here.becomes(vm.uuid, "RUNNING")
        here.order(task)
        here.host.world.vms.clear()
        await here.failed(rpc, uuid=vm.uuid)
        state = await here.state(vm.uuid)
        assert state == ("DESTROYED" if rpc == "DeleteVmInstance" else "STOPPED")
        assert (await here.books())["cpu"] == {}

    on_ground(tmp_path, body)


def test_resume_that_fails_stays_paused(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create(strategy="CREATED_PAUSED")
        here.order("ResumeVmTask")
        await here.failed("ResumeVmInstance", uuid=vm.uuid)
        assert await here.state(vm.uuid) == "PAUSED"

    on_ground(tmp_path, body)


def test_an_expunge_that_fails_may_be_tried_again(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        await here.api.done("DeleteVmInstance", uuid=vm.uuid)
        here.order("DeleteVolumeTask")
        await here.failed("ExpungeVmInstance", uuid=vm.uuid)
        assert await here.state(vm.uuid) == "DESTROYED"
        assert await here.volumes() == [vm.root_volume_uuid]
        await here.api.done("ExpungeVmInstance", uuid=vm.uuid)
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_a_dhcp_entry_that_stays_holds_up_nothing(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        here.order("ReleaseDhcpTask")
        answer = await here.api.done("StopVmInstance", uuid=vm.uuid)
        job = (await here.api.call("GetJob", uuid=answer.job_uuid)).inventory
        assert "passed over" in job.steps[-1].error
        assert await here.state(vm.uuid) == "STOPPED"

    on_ground(tmp_path, body)
