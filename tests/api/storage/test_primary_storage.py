"""Primary storages over a socket, with simulated hosts: attach, connect, lose, detach, delete (PS-01, PS-06)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import TaskError
from tests.support.cloud import (
    Api,
    ApiError,
    add_simulator,
    host_connected,
    running_node,
    simulated_hosts,
    simulator_cluster,
    until,
)
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit

URL = "/var/lib/zcloud-test"


async def add(api: Api, zone: str, url: str = URL, name: str = "local") -> str:
    made = await api.call("AddLocalPrimaryStorage", name=name, zone_uuid=zone, url=url)
    assert made.inventory.status == made.inventory.STATUS_CONNECTING
    return str(made.inventory.uuid)


async def get(api: Api, uuid: str) -> Any:
    return (await api.call("GetPrimaryStorage", uuid=uuid)).inventory


async def storages_of(api: Api, cluster: str) -> list[str]:
    return list((await api.call("GetCluster", uuid=cluster)).inventory.primary_storage_uuids)


async def claim(api: Api, storage_uuid: str, host_uuid: str, key: str, size: int) -> None:
    """What a VM's creation does."""

    async def body(unit: Unit) -> None:
        storage, host = await unit.get(PrimaryStorage, storage_uuid), await unit.get(Host, host_uuid)
        if size:
            await allocation.claim(unit, storage, host, key, size)
        else:
            await allocation.release(unit, storage, host, key)

    await api.node.cloud.decide(Context(), body)


def test_life(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            zone, cluster = await simulator_cluster(api)
            one, two = await add_simulator(api, cluster, "one"), await add_simulator(api, cluster, "two")
            uuid = await add(api, zone)
            async with simulated_hosts(api, one):
                await host_connected(api, one.host_uuid)
                attached = await api.done(
                    "AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=cluster
                )
                assert list(attached.inventory.attached_cluster_uuids) == [cluster]
                storage = await get(api, uuid)
                assert storage.status == storage.STATUS_CONNECTED
                assert storage.type == "LocalStorage"
                assert storage.total_capacity == storage.available_capacity == one.world.disk_size
                assert one.world.storages == {URL}
                assert await storages_of(api, cluster) == [uuid]

                with pytest.raises(ApiError) as twice:
                    await api.call("AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=cluster)
                assert twice.value.reason == "ALREADY_ATTACHED"
                within = await add(api, zone, f"{URL}/within", "within")
                with pytest.raises(ApiError) as mixed:
                    await api.call("AttachPrimaryStorageToCluster", primary_storage_uuid=within, cluster_uuid=cluster)
                assert mixed.value.reason == "OVERLAP"
                _, elsewhere = await simulator_cluster(api, "elsewhere")
                with pytest.raises(ApiError) as far:
                    await api.call("AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=elsewhere)
                assert far.value.reason == "NOT_SAME_ZONE"

                # a host that connects later gets it as well
                async with simulated_hosts(api, two):
                    await host_connected(api, two.host_uuid)
                    assert two.world.storages == {URL}
                    storage = await get(api, uuid)
                    assert storage.total_capacity == one.world.disk_size + two.world.disk_size

                # what is claimed shows in the sums and in percent (PS-04), and keeps the storage where it is
                await claim(api, uuid, one.host_uuid, "d" * 32, 10 << 30)
                storage = await get(api, uuid)
                assert storage.available_capacity == storage.total_capacity - (10 << 30)
                used = round(100 * (10 << 30) / storage.total_capacity, 2)
                assert storage.used_capacity_percent == used > 0
                assert storage.available_capacity_percent == pytest.approx(100 - used)
                free = round(100 * storage.available_physical_capacity / storage.total_physical_capacity, 2)
                assert storage.used_physical_capacity_percent == pytest.approx(100 - free)
                for filter_, there in (
                    (f"used_capacity_percent >= {used}", 1),
                    ("totalCapacity > 0 AND availableCapacityPercent < 50", 0),
                ):
                    query = await api.call("QueryLocalPrimaryStorage", filter=filter_)
                    assert len(query.inventories) == there, filter_
                for rpc, fields in (
                    ("DetachPrimaryStorageFromCluster", {"primary_storage_uuid": uuid, "cluster_uuid": cluster}),
                    ("DeletePrimaryStorage", {"uuid": uuid}),
                ):
                    with pytest.raises(ApiError) as used:
                        await api.call(rpc, **fields)
                    assert (used.value.code, used.value.reason) == ("FAILED_PRECONDITION", "STILL_IN_USE")
                await claim(api, uuid, one.host_uuid, "d" * 32, 0)

                # a host that is deleted takes its part with it
                await api.done("DeleteHost", uuid=two.host_uuid, delete_mode="enforcing")
                assert (await get(api, uuid)).total_capacity == one.world.disk_size

            async def lost() -> bool:
                found = await get(api, uuid)
                return bool(found.status == found.STATUS_DISCONNECTED)

            await until(lost)
            async with simulated_hosts(api, one):

                async def back() -> bool:
                    found = await get(api, uuid)
                    return bool(found.status == found.STATUS_CONNECTED)

                await until(back)
            await api.call("DetachPrimaryStorageFromCluster", primary_storage_uuid=uuid, cluster_uuid=cluster)
            storage = await get(api, uuid)
            assert (storage.total_capacity, list(storage.attached_cluster_uuids)) == (0, [])
            assert await storages_of(api, cluster) == []
            with pytest.raises(ApiError) as absent:
                await api.call("DetachPrimaryStorageFromCluster", primary_storage_uuid=uuid, cluster_uuid=cluster)
            assert absent.value.reason == "NOT_ATTACHED"
            await api.call("ChangePrimaryStorageState", uuid=uuid, state_event="disable")
            await api.call("UpdatePrimaryStorage", uuid=uuid, name="renamed")
            storage = (await api.call("GetLocalPrimaryStorage", uuid=uuid)).inventory
            assert (storage.name, storage.state) == ("renamed", storage.STATE_DISABLED)
            local = (await api.call("QueryLocalPrimaryStorage", filter="state = Disabled")).inventories
            assert [s.uuid for s in local] == [uuid]
            await api.done("DeletePrimaryStorage", uuid=uuid)
            with pytest.raises(ApiError) as gone:
                await get(api, uuid)
            assert gone.value.code == "NOT_FOUND"

    asyncio.run(main())


def test_a_host_that_cannot_prepare_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            zone, cluster = await simulator_cluster(api)
            good, bad = await add_simulator(api, cluster, "good"), await add_simulator(api, cluster, "bad")
            uuid = await add(api, zone)
            async with simulated_hosts(api, good, bad):
                await host_connected(api, good.host_uuid)
                await host_connected(api, bad.host_uuid)
                bad.pace.faults.order("PrepareLocalStorageTask", TaskError("FAILED", "read-only file system"))
                asked = await api.call("AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=cluster)
                job = await api.wait(asked.job_uuid)
                assert job.state == job.STATE_FAILED
                assert "read-only" in job.error
                storage = await get(api, uuid)
                assert (list(storage.attached_cluster_uuids), storage.total_capacity) == ([], 0)
                assert await storages_of(api, cluster) == []
                await api.done("AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=cluster)
                assert (await get(api, uuid)).total_capacity == good.world.disk_size + bad.world.disk_size

                # with the zone goes everything
                await api.done("DeleteZone", uuid=zone)
                assert (await api.call("QueryPrimaryStorage", count=True)).total == 0

    asyncio.run(main())


def test_what_is_attached_while_a_host_connects_is_not_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            zone, cluster = await simulator_cluster(api)
            host = await add_simulator(api, cluster)
            uuid = await add(api, zone)
            host.pace.delay = 0.3
            async with simulated_hosts(api, host):

                async def connecting() -> bool:
                    found = (await api.call("GetHost", uuid=host.host_uuid)).inventory
                    return bool(found.status == found.STATUS_CONNECTING)

                await until(connecting)
                answer = await api.call(
                    "AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=cluster
                )
                assert answer.job_uuid == ""
                await host_connected(api, host.host_uuid)

                async def measured() -> bool:
                    return bool((await get(api, uuid)).total_capacity == host.world.disk_size)

                await until(measured)

    asyncio.run(main())


def test_wrong_whatever_the_state(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            zone, cluster = await simulator_cluster(api)
            for url in ("relative", "/", "/etc", "/etc/storage", "/a/../b", "/a//b"):
                with pytest.raises(ApiError) as invalid:
                    await api.call("AddLocalPrimaryStorage", name="n", zone_uuid=zone, url=url)
                assert (invalid.value.code, invalid.value.fields) == ("INVALID_ARGUMENT", ["url"]), url
            with pytest.raises(ApiError) as absent:
                await api.call("AttachPrimaryStorageToCluster", primary_storage_uuid="e" * 32, cluster_uuid=cluster)
            assert absent.value.code == "NOT_FOUND"
            # without a connected host an attachment is an event, and no job
            uuid = await add(api, zone)
            answer = await api.call("AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, cluster_uuid=cluster)
            assert answer.job_uuid == ""
            await api.done("DeleteCluster", uuid=cluster)
            assert list((await get(api, uuid)).attached_cluster_uuids) == []

    asyncio.run(main())
