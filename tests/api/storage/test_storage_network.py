"""Storage networks over a socket: set, looked at by hosts, and shown with what is amiss (PS-05)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.runtime.task import TaskError
from agents.simulator.host import SimulatedHost
from tests.api.compute.ground import Ground, on_ground, refused
from tests.support.cloud import add_simulator, host_connected, simulated_hosts, until
from zcloud.v1.agent_pb2 import HostInventory

CIDR = "10.9.0.0/24"


async def seen(here: Ground) -> dict[str, Any]:
    found = (await here.api.call("GetPrimaryStorage", uuid=here.storage)).inventory
    return {one.host_uuid: one for one in found.storage_network_hosts}


async def asks(here: Ground, wanted: dict[SimulatedHost, list[str]]) -> bool:
    """Whether hosts were told to ask these, and have."""
    return all(sorted(host.world.storage_networks[here.storage].peers) == peers for host, peers in wanted.items())


async def connects(here: Ground) -> int:
    """Jobs that connected the first two hosts, or had them look at the storage."""
    hosts = " OR ".join(f'resource_uuid = "{host.host_uuid}"' for host in here.hosts[:2])
    filter_ = f'({hosts}) OR workflow = "reconnect_primary_storage"'
    return int((await here.api.call("QueryJob", filter=filter_, count=True)).total)


def test_hosts_say_how_they_are_there(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        one, two = here.hosts
        one.world.addresses, two.world.addresses = ("127.0.0.1", "192.168.0.5", "10.9.0.5"), ("192.168.0.6",)
        assert await seen(here) == {}
        for cidr in ("10.9.0.1/24", "10.9.0.0", "nets", "10.9.0.0/33"):
            wrong = await refused(here.api.call("UpdatePrimaryStorage", uuid=here.storage, storage_network_cidr=cidr))
            assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["storage_network_cidr"]), cidr
            fields = {"name": "n", "zone_uuid": here.zone, "url": "/n", "storage_network_cidr": cidr}
            wrong = await refused(here.api.call("AddSharedMountPointPrimaryStorage", **fields))
            assert wrong.fields == ["storage_network_cidr"], cidr
        local = (await here.api.call("AddLocalPrimaryStorage", name="l", zone_uuid=here.zone, url="/l")).inventory.uuid
        wrong = await refused(here.api.call("UpdatePrimaryStorage", uuid=local, storage_network_cidr=CIDR))
        assert (wrong.code, wrong.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")

        await here.api.done("UpdatePrimaryStorage", uuid=here.storage, storage_network_cidr=CIDR)
        told = await seen(here)
        assert (told[one.host_uuid].address, told[one.host_uuid].reachable) == ("10.9.0.5", True)
        astray = told[two.host_uuid]
        assert (astray.address, astray.reachable) == ("", False)
        assert "no address in 10.9.0.0/24" in astray.reason
        assert "192.168.0.6" in astray.reason
        filter_ = 'storage_network_hosts.reason : "no address"'
        assert len((await here.api.call("QueryPrimaryStorage", filter=filter_)).inventories) == 1

        # it gets one there, and each asks the other: the one that was looked at first is told of what came after it
        two.world.addresses = ("192.168.0.6", "10.9.0.6")
        one.world.silent = {"10.9.0.6"}
        await here.api.done("ReconnectPrimaryStorage", uuid=here.storage)
        await until(lambda: asks(here, {one: ["10.9.0.6"], two: ["10.9.0.5"]}), 60)
        told = await seen(here)
        assert told[two.host_uuid].reachable
        assert (told[two.host_uuid].address, told[two.host_uuid].reason) == ("10.9.0.6", "")
        assert not told[one.host_uuid].reachable
        assert list(told[one.host_uuid].silent_addresses) == ["10.9.0.6"]
        assert "10.9.0.6" in told[one.host_uuid].reason

        # what agents find later they tell by themselves
        one.world.silent = set()
        news = one.world.storage_network(here.storage)
        one.world.changes.put_nowait(HostInventory(storage_networks=[news]))

        async def well() -> bool:
            return bool((await seen(here))[one.host_uuid].reachable)

        await until(well, 60)
        # another network makes it all void, and none is none
        await here.api.done("UpdatePrimaryStorage", uuid=here.storage, storage_network_cidr="10.10.0.0/24")
        assert {told.address for told in (await seen(here)).values()} == {""}
        await here.api.done("UpdatePrimaryStorage", uuid=here.storage, storage_network_cidr="")
        assert await seen(here) == {}
        await here.api.done("UpdatePrimaryStorage", uuid=here.storage, storage_network_cidr=CIDR)
        assert len(await seen(here)) == 2
        await until(lambda: asks(here, {one: ["10.9.0.6"], two: ["10.9.0.5"]}), 60)

        # A third comes, which takes some attempts to be told of; then one goes. Nobody connects anew for it.
        jobs = await connects(here)
        three = await add_simulator(here.api, here.cluster, "host-3")
        three.world.addresses = ("10.9.0.7",)
        three.world.mounts = one.world.mounts
        one.pace.faults.order("WatchStorageNetworkTask", TaskError("FAILED", "as ordered"), 1)
        async with simulated_hosts(here.api, three):
            await host_connected(here.api, three.host_uuid)
            await until(lambda: asks(here, {two: ["10.9.0.5", "10.9.0.7"], three: ["10.9.0.5", "10.9.0.6"]}), 60)
            # by itself its agent finds out that it has another address
            three.world.addresses = ("10.9.0.8",)
            news = three.world.storage_network(here.storage)
            three.world.changes.put_nowait(HostInventory(storage_networks=[news]))
            await until(lambda: asks(here, {one: ["10.9.0.6", "10.9.0.8"], two: ["10.9.0.5", "10.9.0.8"]}), 60)
            assert await connects(here) == jobs
            await here.api.done("DeleteHost", uuid=two.host_uuid, delete_mode="enforcing")
            assert set(await seen(here)) == {one.host_uuid, three.host_uuid}
            await until(lambda: asks(here, {one: ["10.9.0.8"], three: ["10.9.0.5"]}), 60)

    on_ground(tmp_path, body, hosts=2, shared=True)
