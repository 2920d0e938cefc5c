"""What hosts have mounted, over a socket: gone, told of and back; taken away when they part (PS-02, PS-07, PS-08)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import TaskError
from agents.simulator.directory import Directory
from agents.simulator.host import SimulatedHost
from tests.api.compute.ground import Ground, on_ground, refused
from tests.support.cloud import add_simulator, simulated_hosts, simulator_cluster, until
from zcloud.cli.main import main

URL = "10.0.0.9:/exports/zcloud"
GONE = "the process that had mounted it has ended"


async def nfs(here: Ground) -> str:
    """An export that both hosts have mounted."""
    server = Directory()
    for host in here.hosts:
        host.world.exports[URL] = server
    made = await here.api.call("AddNfsPrimaryStorage", name="nfs", zone_uuid=here.zone, url=URL)
    uuid = str(made.inventory.uuid)
    await here.api.done("AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=here.cluster)
    return uuid


async def statuses(here: Ground, uuid: str) -> dict[str, tuple[str, str]]:
    """By host: how it has the storage, and why; with "" as host the storage on the whole."""
    found = (await here.api.call("GetPrimaryStorage", uuid=uuid)).inventory
    name = type(found).Status.Name
    told = {one.host_uuid: (name(one.status)[7:], one.reason) for one in found.host_statuses}
    return {**told, "": (name(found.status)[7:], "")}


def mounts(host: SimulatedHost) -> list[str]:
    return sorted(host.world.mounts)


async def debts(here: Ground) -> list[Any]:
    return [item for debt in (await here.api.call("QueryHostDebt")).inventories for item in debt.items]


def test_a_mount_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """PS-07: that host has it no more, and says why; VMs go where it can be used; then all is well again."""

    async def body(here: Ground) -> None:
        one, two = here.hosts
        uuid = await nfs(here)
        well = {one.host_uuid: ("CONNECTED", ""), two.host_uuid: ("CONNECTED", ""), "": ("CONNECTED", "")}
        assert await statuses(here, uuid) == well
        local = (await here.api.call("GetPrimaryStorage", uuid=here.storage)).inventory
        assert not local.host_statuses
        vm = await here.create(primary_storage_uuid=uuid, strategy="create_stopped")

        # Who runs there has had its disk open through it: it says so until it is started again.
        runs = await here.create(primary_storage_uuid=uuid, host_uuid=one.host_uuid)
        apart = await here.create(primary_storage_uuid=here.storage, host_uuid=one.host_uuid)
        stands = await here.create(primary_storage_uuid=uuid, host_uuid=one.host_uuid)
        await here.api.done("PauseVmInstance", uuid=stands.uuid)
        one.world.mount_ended[uuid] = "first"
        one.world.mount_breaks(uuid, GONE)
        broken = {**well, one.host_uuid: ("DISCONNECTED", GONE)}
        await until(lambda: _is(here, uuid, broken), 60)
        found = (
            await here.api.call("QueryVmInstance", filter='state = Running AND state_reason : "give errors"')
        ).inventories
        assert [one.uuid for one in found] == [runs.uuid]
        assert "give errors" in (await here.vm(stands.uuid)).state_reason
        filter_ = "host_statuses.status = Disconnected"
        assert len((await here.api.call("QueryPrimaryStorage", filter=filter_)).inventories) == 1
        # VMs and volumes go to the other host; asked for by name, it is refused with the reason.
        await here.api.done("StartVmInstance", uuid=vm.uuid)
        assert (await here.vm(vm.uuid)).host_uuid == two.host_uuid
        made = await here.create(primary_storage_uuid=uuid)
        assert made.host_uuid == two.host_uuid
        error = await refused(here.api.call("MigrateVm", vm_instance_uuid=vm.uuid, host_uuid=one.host_uuid))
        assert (error.code, GONE in error.message) == ("RESOURCE_EXHAUSTED", True), error.message

        # The last one loses it as well: the storage is Disconnected, and it is known why.
        two.world.mount_breaks(uuid, "it does not answer")
        await until(lambda: _status(here, uuid, "DISCONNECTED"), 60)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("ZCLOUD_SERVER", here.api.node.address)
        monkeypatch.setenv("ZCLOUD_TOKEN", here.api.token)
        assert await asyncio.to_thread(main, ["why", uuid, "status"]) == 0
        told = capsys.readouterr().out.splitlines()
        assert "status is Disconnected since" in told[0]
        assert told[1].startswith("  because of a report of a host that has it mounted at")
        assert told[1].endswith(': "host "host-2": it does not answer"')

        two.world.mount_breaks(uuid, "")
        one.world.mount_breaks(uuid, "")
        await until(lambda: _is(here, uuid, well), 60)
        await here.api.done("ReconnectHost", uuid=one.host_uuid)
        await until(lambda: _is(here, uuid, well), 60)
        assert "stop it (type Cold)" in (await here.vm(runs.uuid)).state_reason
        await here.api.done("StopVmInstance", uuid=runs.uuid, type="Cold")
        await here.api.done("StartVmInstance", uuid=runs.uuid)
        one.world.changes.put_nowait(one.world.inventory())
        await until(lambda: _is(here, uuid, well), 60)
        await here.api.done("MigrateVm", vm_instance_uuid=vm.uuid, host_uuid=one.host_uuid)

        assert [(await here.vm(vm.uuid)).state_reason for vm in (runs, apart, vm)] == ["", "", ""]

        # What is gone when a host connects is looked at by its connect.
        one.world.mount_breaks(uuid, GONE)
        await until(lambda: _is(here, uuid, broken), 60)
        await here.api.done("ReconnectPrimaryStorage", uuid=uuid)
        assert await statuses(here, uuid) == well

    on_ground(tmp_path, body, hosts=2)


def test_a_silent_server_costs_no_host(tmp_path: Path) -> None:
    """PS-07, PS-08: a host that connects has all but the storage, which says why, and has it as soon as it answers."""

    async def body(here: Ground) -> None:
        one, two = here.hosts
        uuid = await nfs(here)
        path = f"/var/lib/zcloud/nfs/{uuid}"
        server = one.world.exports[URL]
        await here.fleet.stop()
        await until(lambda: _status(here, uuid, "DISCONNECTED"), 60)
        for host in here.hosts:
            host.world.mounts.clear()
        two.world.exports.clear()
        async with simulated_hosts(here.api, one, two):
            await until(lambda: _hosts_connected(here), 60)
            lacks = f"{URL} cannot be mounted at {path}: no such export"
            told = {one.host_uuid: ("CONNECTED", ""), two.host_uuid: ("DISCONNECTED", lacks), "": ("CONNECTED", "")}
            assert await statuses(here, uuid) == told
            # That host does what needs no such storage.
            vm = await here.create(primary_storage_uuid=here.storage, host_uuid=two.host_uuid)
            assert vm.host_uuid == two.host_uuid
            assert (await here.create(primary_storage_uuid=uuid)).host_uuid == one.host_uuid
            two.world.mounts[path] = two.world.exports[URL] = server
            two.world.mount_breaks(uuid, "")
            await until(lambda: _connected(here, uuid, 2), 60)

        # None had it before: the storage says so, until somebody has it looked at again.
        await until(lambda: _status(here, uuid, "DISCONNECTED"), 60)
        zone, cluster = await simulator_cluster(here.api, "late")
        made = await here.api.call("AddNfsPrimaryStorage", name="new", zone_uuid=zone, url=f"{URL}2")
        new = str(made.inventory.uuid)
        await here.api.call("AttachPrimaryStorageToCluster", primary_storage_uuid=new, cluster_uuid=cluster)
        late = await add_simulator(here.api, cluster, "late")
        async with simulated_hosts(here.api, late):
            await until(lambda: _status(here, new, "DISCONNECTED"), 60)
            (status,) = (await here.api.call("GetPrimaryStorage", uuid=new)).inventory.host_statuses
            assert "no such export" in status.reason
            await until(lambda: _hosts_connected(here, late.host_uuid), 60)
            late.world.exports[f"{URL}2"] = Directory()
            await here.api.done("ReconnectPrimaryStorage", uuid=new)
            assert (await statuses(here, new))[""][0] == "CONNECTED"

    on_ground(tmp_path, body, hosts=2)


async def _hosts_connected(here: Ground, *uuids: str) -> bool:
    found = (await here.api.call("QueryHost", filter="status = Connected")).inventories
    return {host.uuid for host in found} >= set(uuids or [host.host_uuid for host in here.hosts])


async def _is(here: Ground, uuid: str, wanted: dict[str, tuple[str, str]]) -> bool:
    return await statuses(here, uuid) == wanted


async def _status(here: Ground, uuid: str, wanted: str) -> bool:
    return (await statuses(here, uuid))[""][0] == wanted


def test_what_was_mounted_is_taken_away(tmp_path: Path) -> None:
    """PS-02: by detaching and deleting, at once or owed; not by maintenance, and not while it is in use."""

    async def body(here: Ground) -> None:
        one, two = here.hosts
        uuid = await nfs(here)
        path = f"/var/lib/zcloud/nfs/{uuid}"
        cluster = {"primary_storage_uuid": uuid, "cluster_uuid": here.cluster}
        vm = await here.create(primary_storage_uuid=uuid)
        error = await refused(here.api.call("DetachPrimaryStorageFromCluster", **cluster))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "STILL_IN_USE")
        await here.api.done("ChangePrimaryStorageState", uuid=uuid, state_event="maintain")
        assert mounts(one) == mounts(two) == [path]
        await here.api.call("ChangePrimaryStorageState", uuid=uuid, state_event="enable")
        await here.api.done("DeleteVmInstance", uuid=vm.uuid)
        await here.api.done("ExpungeVmInstance", uuid=vm.uuid)

        # One cannot now: it owes it, and is asked again by itself, until it can.
        two.pace.faults.order("ReleasePrimaryStorageTask", TaskError("REFUSED", "target is busy"), 2)
        await here.api.done("DetachPrimaryStorageFromCluster", **cluster)
        assert (mounts(one), mounts(two), len(await debts(here))) == ([], [path], 1)
        often = {"category": "host", "name": "debt.interval"}
        await here.api.call("UpdateGlobalConfig", **often, value="1")
        await until(lambda: _paid(here), 60)
        assert mounts(two) == []
        await here.api.call("UpdateGlobalConfig", **often, value="3600")
        await here.api.done("AttachPrimaryStorageToCluster", **cluster)

        # Nor does it wait for that when it connects.
        two.pace.faults.order("ReleasePrimaryStorageTask", TaskError("REFUSED", "target is busy"), 1)
        await here.api.done("DetachPrimaryStorageFromCluster", **cluster)
        assert (mounts(one), mounts(two)) == ([], [path])
        assert (await here.api.call("GetPrimaryStorage", uuid=uuid)).inventory.host_statuses == []
        (item,) = await debts(here)
        assert (item.owed_kind, item.owed_uuid, list(item.paths)) == ("primary_storage", uuid, [path])
        assert "target is busy" in item.reason
        # Attached once more meanwhile, it is in use again, and owed no more.
        await here.api.done("AttachPrimaryStorageToCluster", **cluster)
        assert mounts(one) == mounts(two) == [path]
        await here.fleet.stop()
        await until(lambda: _status(here, uuid, "DISCONNECTED"), 60)
        async with simulated_hosts(here.api, one, two):
            await until(lambda: _paid(here), 60)
            assert mounts(one) == mounts(two) == [path]
            await until(lambda: _connected(here, uuid, 2), 60)
            # Enforcing takes it from all hosts that have it.
            await here.api.done("DeletePrimaryStorage", uuid=uuid, delete_mode="enforcing")
            await until(lambda: _paid(here), 60)
            assert mounts(one) == mounts(two) == []
            uuid = await nfs(here)
        # Hosts that are away owe it.
        await until(lambda: _status(here, uuid, "DISCONNECTED"), 60)
        cluster["primary_storage_uuid"] = uuid
        await here.api.done("DetachPrimaryStorageFromCluster", **cluster)
        assert sorted(item.owed_kind for item in await debts(here)) == ["primary_storage"] * 2
        async with simulated_hosts(here.api, one, two):
            await until(lambda: _paid(here), 60)
        assert mounts(one) == mounts(two) == []

    on_ground(tmp_path, body, hosts=2)


async def _paid(here: Ground) -> bool:
    return not await debts(here)


async def _connected(here: Ground, uuid: str, hosts: int) -> bool:
    told = await statuses(here, uuid)
    return [status for host, (status, _) in told.items() if host] == ["CONNECTED"] * hosts
