"""What becomes of VMs when that on which they rest is deleted, and of the recycle bin in time (behaviours 9 and 10)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import Work
from tests.api.compute.ground import Ground, on_ground, refused
from tests.support.cloud import until
from zcloud.kernel.clock import SECOND
from zcloud.processes.compute.vm_expunge import VmExpunge


async def gone(here: Ground, rpc: str, uuid: str) -> bool:
    """Nobody finds it any more."""
    return (await refused(here.api.call(rpc, uuid=uuid))).code == "NOT_FOUND"


def test_a_deleted_primary_storage_takes_its_vms_along(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        running, stopped = await here.create(), await here.create(name="s", strategy="CREATE_STOPPED")
        await here.api.done("DeletePrimaryStorage", uuid=here.storage, delete_mode="enforcing")
        for vm in (running, stopped):
            assert await gone(here, "GetVmInstance", vm.uuid)
            assert await gone(here, "GetVolume", vm.root_volume_uuid)
        books = await here.books()
        assert (books["cpu"], books["nics"], here.host.world.vms, here.host.world.volumes) == ({}, set(), {}, {})

    on_ground(tmp_path, body)


def test_a_deleted_host_stops_its_vms(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create(host_uuid=here.hosts[0].host_uuid)
        other = await here.create(name="other", host_uuid=here.hosts[1].host_uuid)
        await here.api.done("DeleteHost", uuid=here.hosts[0].host_uuid)
        read = await here.vm(vm.uuid)
        assert (read.state, read.host_uuid) == (read.STATE_STOPPED, "")
        assert read.state_reason == 'host "host-1" was deleted'
        assert not here.hosts[0].world.vms
        assert await here.state(other.uuid) == "RUNNING"
        error = await refused(here.api.call("StartVmInstance", uuid=vm.uuid))
        assert error.reason == "NO_HOST_AVAILABLE"
        await here.api.done("DeleteVmInstance", uuid=vm.uuid)
        await here.api.done("ExpungeVmInstance", uuid=vm.uuid)

    on_ground(tmp_path, body, hosts=2)


def test_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        await here.fleet.stop()
        await here.becomes(vm.uuid, "UNKNOWN")
        job = await here.failed("DeleteHost", uuid=here.host.host_uuid)
        assert "not Connected" in job.error
        assert await here.state(vm.uuid) == "UNKNOWN"
        await here.api.done("DeleteHost", uuid=here.host.host_uuid, delete_mode="enforcing")
        read = await here.vm(vm.uuid)
        assert read.state == read.STATE_STOPPED
        assert read.state_reason.startswith(f"given up; it may still run on host {here.host.host_uuid}")

    on_ground(tmp_path, body)


def test_a_vm_of_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        await here.fleet.stop()
        await here.becomes(vm.uuid, "UNKNOWN")
        await here.api.done("DeleteVmInstance", uuid=vm.uuid, delete_mode="enforcing")
        read = await here.vm(vm.uuid)
        assert read.state == read.STATE_DESTROYED
        assert "owes its stop" in read.state_reason
        assert (await here.books())["cpu"] == {}
        job = await here.failed("ExpungeVmInstance", uuid=vm.uuid)
        assert "not Connected" in job.error
        assert await here.volumes() == [vm.root_volume_uuid]

    on_ground(tmp_path, body)


@pytest.mark.parametrize("root", ["Zone", "Cluster"])
def test_a_zone_or_cluster_takes_vms_along(tmp_path: Path, root: str) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        uuid = {"Zone": here.zone, "Cluster": here.cluster}[root]
        await here.api.done(f"Delete{root}", uuid=uuid, delete_mode="enforcing")
        assert await gone(here, "GetVmInstance", vm.uuid)
        assert await gone(here, f"Get{root}", uuid)
        assert (here.host.world.vms, here.host.world.volumes) == ({}, {})

    on_ground(tmp_path, body)


@pytest.mark.parametrize("rpc", ["DeleteIpRange", "DeleteL3Network"])
def test_networks_that_go_take_the_nics_along(tmp_path: Path, rpc: str) -> None:
    async def body(here: Ground) -> None:
        other = (await here.api.call("CreateL3Network", name="other", l2_network_uuid=here.l2)).inventory.uuid
        await here.api.call("AddIpRangeByNetworkCidr", name="o", l3_network_uuid=other, network_cidr="10.1.0.0/24")
        vm = await here.create(l3_network_uuids=[here.l3, other])
        uuid = {"DeleteIpRange": here.ip_range, "DeleteL3Network": here.l3}[rpc]
        error = await refused(here.api.call(rpc, uuid=uuid))
        assert error.reason == "STILL_IN_USE"
        await here.api.done(rpc, uuid=uuid, delete_mode="enforcing")
        read = await here.vm(vm.uuid)
        assert [nic.l3_network_uuid for nic in read.vm_nics] == [other]
        assert (read.default_l3_network_uuid, read.state) == (other, read.STATE_RUNNING)
        assert len(here.host.world.vms[vm.uuid].spec.interfaces) == 2
        await here.api.done("RebootVmInstance", uuid=vm.uuid)
        assert len(here.host.world.vms[vm.uuid].spec.interfaces) == 1, "applied at the next start"

    on_ground(tmp_path, body)


def test_an_account_takes_what_it_owns_along(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        account, user = await api.account("eve")
        await api.call("ShareResource", resource_uuids=[here.l3, here.image], account_uuids=[account])
        made = await user.call("CreateVmInstance", **here.fields())
        job = await user.wait(made.job_uuid)
        assert job.state == job.STATE_SUCCEEDED, job
        vm = await here.vm(made.inventory.uuid)
        assert (vm.account_uuid, vm.state) == (account, vm.STATE_RUNNING)
        admins = await here.create(name="admins")
        assert (await refused(user.call("GetVmInstance", uuid=admins.uuid))).code == "NOT_FOUND"
        assert (await refused(user.call("StopVmInstance", uuid=admins.uuid))).code == "NOT_FOUND"
        assert (await user.call("QueryVmInstance", count=True)).total == 1

        await api.done("DeleteAccount", uuid=account)
        assert await gone(here, "GetVmInstance", vm.uuid)
        assert await gone(here, "GetAccount", account)
        assert await here.state(admins.uuid) == "RUNNING"
        assert here.host.world.vms.keys() == {admins.uuid}
        assert (await here.books())["cpu"].keys() == {admins.uuid}
        assert (await refused(user.call("QueryZone"))).code == "UNAUTHENTICATED"
        await api.account("eve")  # the name is free again
        admin = (await api.call("QueryAccount", filter="type = Admin")).inventories[0]
        error = await refused(api.call("DeleteAccount", uuid=admin.uuid))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "STILL_IN_USE")

    on_ground(tmp_path, body)


def test_the_recycle_bin_is_emptied_in_time(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        watch = next(w for w in api.node.watches if isinstance(w, VmExpunge))
        vm = await here.create()
        await api.done("DeleteVmInstance", uuid=vm.uuid)
        await watch.look()
        assert await here.state(vm.uuid) == "DESTROYED"
        clock = api.node.cloud.clock

        async def look_later() -> None:
            """The period is over; only for as long as the watch looks, or the session would be over as well."""
            now = clock.now
            clock.now = lambda: now() + 604_801 * SECOND  # type: ignore[method-assign]
            await watch.look()
            clock.now = now  # type: ignore[method-assign]

        await api.call("UpdateGlobalConfig", category="vm", name="deletionPolicy", value="Never")
        await look_later()
        assert await here.state(vm.uuid) == "DESTROYED"
        await api.call("UpdateGlobalConfig", category="vm", name="deletionPolicy", value="Delay")
        await look_later()

        async def expunged() -> bool:
            return bool((await api.call("QueryVmInstance", count=True)).total == 0)

        await until(expunged)
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_direct_deletion_needs_no_recycle_bin(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        await here.api.call("UpdateGlobalConfig", category="vm", name="deletionPolicy", value="Direct")
        vm = await here.create()
        await here.api.done("DeleteVmInstance", uuid=vm.uuid)

        async def expunged() -> bool:
            return bool((await here.api.call("QueryVmInstance", count=True)).total == 0)

        await until(expunged)
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_two_who_ask_for_the_same_deletion_both_see_it_done(tmp_path: Path) -> None:
    """VM-05, ARC-12: the second job, and what a deletion of something above asks of it, find their end reached."""

    async def body(here: Ground) -> None:
        api, gate = here.api, asyncio.Event()
        before = here.host.pace.before

        async def held(task: str, work: Work) -> None:
            await gate.wait()
            await before(task, work)

        here.host.pace.before = held  # type: ignore[method-assign]

        async def asked(*calls: tuple[str, dict[str, Any]]) -> None:
            gate.clear()
            jobs = [(await api.call(rpc, **fields)).job_uuid for rpc, fields in calls]
            waits = (await api.call("GetJob", uuid=jobs[1])).inventory
            assert waits.state in (waits.STATE_WAITING, waits.STATE_RUNNING)
            gate.set()
            for uuid in jobs:
                job = await api.wait(uuid)
                assert job.state == job.STATE_SUCCEEDED, job
                assert [step.error for step in job.steps if step.error] == []

        gate.set()
        vm, other = await here.create(), await here.create(name="other")
        volume = {"volume_uuid": vm.root_volume_uuid}
        first = (await api.done("CreateVolumeSnapshot", name="first", **volume)).inventory.uuid
        delete = ("DeleteVolumeSnapshot", {"uuid": first})
        await asked(("CreateVolumeSnapshot", {"name": "second", **volume}), delete, delete)
        assert await gone(here, "GetVolumeSnapshot", first)
        delete = ("DeleteVmInstance", {"uuid": vm.uuid})
        await asked(delete, delete)
        assert await here.state(vm.uuid) == "DESTROYED"
        await api.done("DeleteVmInstance", uuid=other.uuid)
        delete = ("DeleteZone", {"uuid": here.zone, "delete_mode": "enforcing"})
        await asked(("ExpungeVmInstance", {"uuid": other.uuid}), delete, delete)
        assert await gone(here, "GetZone", here.zone)
        assert (here.host.world.vms, here.host.world.volumes) == ({}, {})

    on_ground(tmp_path, body)
