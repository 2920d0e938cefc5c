"""Zones, clusters and simulated hosts over a socket and the agents' real door (ZON-01..04, CLU-01..06, HST-01..05)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import TaskError
from tests.support.cloud import (
    Api,
    ApiError,
    add_simulator,
    build,
    host_connected,
    running_node,
    simulated_hosts,
    simulator_cluster,
    until,
)
from zcloud.api import agent_door
from zcloud.domain.infrastructure.host import HostStatus
from zcloud.domain.infrastructure.kvm_host import KvmHost
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit
from zcloud.processes.infrastructure import host_watch
from zcloud.v1 import job_pb2 as pb


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(go())


async def code(call: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value.code, refused.value.reason


@pytest.mark.parametrize("noun", ["Zone", "Cluster"])
def test_life(tmp_path: Path, noun: str) -> None:
    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="outer")).inventory.uuid
        more = {"zone_uuid": zone} if noun == "Cluster" else {}
        made = (await api.call(f"Create{noun}", name="one", description="d", **more)).inventory
        assert (made.name, made.description, made.version, made.state) == ("one", "d", 1, made.STATE_ENABLED)
        assert (await api.call(f"Get{noun}", uuid=made.uuid)).inventory == made
        await api.call(f"Update{noun}", uuid=made.uuid, name="two")
        disabled = (await api.call(f"Change{noun}State", uuid=made.uuid, state_event="disable")).inventory
        assert (disabled.name, disabled.description, disabled.version) == ("two", "d", 3)
        assert disabled.state == disabled.STATE_DISABLED
        again = (await api.call(f"Change{noun}State", uuid=made.uuid, state_event="disable")).inventory
        assert again.version == 3
        found = (await api.call(f"Query{noun}", filter='state = Disabled AND name = "two"')).inventories
        assert list(found) == [disabled]
        await api.done(f"Delete{noun}", uuid=made.uuid)
        assert (await code(api.call(f"Get{noun}", uuid=made.uuid)))[0] == "NOT_FOUND"
        assert (await code(api.call(f"Delete{noun}", uuid=made.uuid)))[0] == "NOT_FOUND"

    in_cloud(tmp_path, body)


def test_a_zone_takes_all_below_it_with_it(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone, cluster = await simulator_cluster(api)
        other = (await api.call("CreateCluster", name="kvm", zone_uuid=zone)).inventory.uuid
        elsewhere = (await simulator_cluster(api, "elsewhere"))[1]
        hosts = [await add_simulator(api, cluster, f"host-{n}") for n in range(3)]
        async with simulated_hosts(api, *hosts):
            for host in hosts:
                await host_connected(api, host.host_uuid)
            await api.done("DeleteZone", uuid=zone)
            assert [c.uuid for c in (await api.call("QueryCluster")).inventories] == [elsewhere]
            assert (await api.call("QueryHost", count=True)).total == 0
            gone = await api.call("GetHistory", resource_uuid=other)
            assert "cluster.Removed" in [e.type for e in gone.events]

    in_cloud(tmp_path, body)


def test_nothing_new_rests_on_what_is_being_deleted(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone, _ = await simulator_cluster(api)
        deleting = asyncio.create_task(api.call("DeleteZone", uuid=zone))
        making = [asyncio.create_task(api.call("CreateCluster", name=f"c{n}", zone_uuid=zone)) for n in range(20)]
        job = (await deleting).job_uuid
        found = await asyncio.gather(*making, return_exceptions=True)
        assert (await api.wait(job)).state == 4
        assert (await api.call("QueryCluster", count=True)).total == 0
        for refused in (f for f in found if isinstance(f, BaseException)):
            assert isinstance(refused, ApiError)
            assert (refused.code, refused.reason) in (
                ("FAILED_PRECONDITION", "BEING_DELETED"),
                ("NOT_FOUND", "RESOURCE_NOT_FOUND"),
            )

    in_cloud(tmp_path, body)


def test_a_host_is_connected_only_while_its_agent_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_door, "HEARTBEAT_SECONDS", 1)

    async def body(api: Api) -> None:
        _, cluster = await simulator_cluster(api)
        host = await add_simulator(api, cluster, cpu_num=4)
        uuid = host.host_uuid
        before = (await api.call("GetSimulatorHost", uuid=uuid)).inventory
        assert before.status == before.STATUS_DISCONNECTED
        assert "not dialled in" in before.status_reason
        async with simulated_hosts(api, host):
            connected = await host_connected(api, uuid)
            assert (connected.cpu_num, connected.total_cpu_capacity, connected.version) == (4, 40, 1)
            assert (connected.hypervisor_version, connected.status_reason) == ("simulator 1", "")
            await api.done("ReconnectHost", uuid=uuid)
            host.world.hypervisor_error = "libvirtd is dead"

            async def told() -> Any:
                now = (await api.call("GetHost", uuid=uuid)).inventory
                return now if now.status == now.STATUS_DISCONNECTED else None

            assert "libvirtd is dead" in (await until(told)).status_reason
            host.world.hypervisor_error = ""
            await host_connected(api, uuid)

        async def lost() -> Any:
            now = (await api.call("GetHost", uuid=uuid)).inventory
            return now if now.status == now.STATUS_DISCONNECTED else None

        assert (await until(lost)).status_reason
        assert (await api.call("GetHost", uuid=uuid)).inventory.version == 1  # what is observed changes no version

    in_cloud(tmp_path, body)


def test_a_connect_that_failed_is_tried_again_while_the_agent_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_watch, "RECONNECT_SECONDS", 0.2)

    async def body(api: Api) -> None:
        _, cluster = await simulator_cluster(api)
        host = await add_simulator(api, cluster)
        host.pace.faults.order("ConnectHostTask", TaskError("FAILED", "not just now"), times=2)
        async with simulated_hosts(api, host):
            await host_connected(api, host.host_uuid)
        jobs = (await api.call("QueryJob", filter=f'resource_uuid = "{host.host_uuid}"')).inventories
        assert [job.state for job in jobs].count(pb.Job.STATE_FAILED) == 2

    in_cloud(tmp_path, body)


def test_an_agent_whose_certificate_is_not_its_hosts_is_turned_away(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        kvm_zone = (await api.call("CreateZone", name="z")).inventory.uuid
        kvm = (await api.call("CreateCluster", name="kvm", zone_uuid=kvm_zone)).inventory.uuid
        _, cluster = await simulator_cluster(api)
        host = await add_simulator(api, cluster)
        added = await api.call(
            "AddKvmHost", name="k", cluster_uuid=kvm, management_ip="127.0.0.1", ssh_port=1, username="r", password="p"
        )
        async with simulated_hosts(api, host):
            await host_connected(api, host.host_uuid)
            host.host_uuid = added.inventory.uuid
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1), simulated_hosts(api, host):
                    pass
        assert api.node.agents.connected(added.inventory.uuid) is None
        assert (await api.wait(added.job_uuid)).state == 5
        assert (await api.call("QueryKvmHost", count=True)).total == 0

    in_cloud(tmp_path, body)


def test_a_kvm_host_is_reached_otherwise(tmp_path: Path) -> None:
    """HST-16: its login is another from now on, is told nobody, and a place that is none is refused."""

    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory
        made = await api.call("CreateCluster", name="c", zone_uuid=zone.uuid, hypervisor_type="KVM")
        place = {"zone_uuid": zone.uuid, "cluster_uuid": made.inventory.uuid, "management_ip": "10.0.0.1"}

        async def seed(unit: Unit) -> str:
            host = await unit.new(KvmHost, account_uuid=zone.account_uuid)
            host.create(name="h", username="root", password=api.node.vault.seal("old"), **place)
            (await unit.companion(HostStatus, host)).connecting()
            return host.uuid

        uuid = (await api.node.cloud.decide(Context(actor=SYSTEM), seed)).value
        before = (await api.call("GetKvmHost", uuid=uuid)).inventory
        changes = {"name": "other", "management_ip": "10.0.0.2", "ssh_port": 2222, "username": "zcloud"}
        told = (await api.call("UpdateKvmHost", uuid=uuid, **changes, password="new")).inventory
        assert {name: getattr(told, name) for name in changes} == changes
        assert told.version > before.version
        assert (await api.call("GetKvmHost", uuid=uuid)).inventory == told
        sealed = (await Unit(api.node.cloud, Context(), 0).get(KvmHost, uuid)).password
        assert api.node.vault.open(sealed) == "new"
        wrong = api.call("UpdateKvmHost", uuid=uuid, management_ip="not a host")
        assert await code(wrong) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert (await api.call("GetKvmHost", uuid=uuid)).inventory == told
        # That machine is a host by now; another libvirt there, or another port, is another one.
        again = {"name": "again", "cluster_uuid": made.inventory.uuid, "username": "root", "password": "p"}
        same = {"management_ip": "10.0.0.2", "ssh_port": 2222}
        assert await code(api.call("AddKvmHost", **again, **same)) == ("FAILED_PRECONDITION", "OVERLAP")
        for other in (
            {"ssh_port": 22},
            {"management_ip": "10.0.0.3"},
            {"libvirt_uri": "qemu+unix:///system?socket=/x"},
        ):
            request = build("AddKvmHost", {**again, **same, **other})
            await api.send("AddKvmHost", request, {"zcloud-validate-only": "true"})

    in_cloud(tmp_path, body)


def test_rules_of_clusters(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone, cluster = await simulator_cluster(api)
        wrong = api.call("CreateCluster", name="c", zone_uuid=zone, hypervisor_type="Xen")
        assert await code(wrong) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        host = {"name": "h", "cluster_uuid": cluster, "management_ip": "10.0.0.1", "username": "r"}
        assert await code(api.call("AddKvmHost", **host, password="p")) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")
        updated = api.call("UpdateKvmHost", uuid="f" * 32, name="x")
        assert (await code(updated))[0] == "NOT_FOUND"
        await api.call("UpdateCluster", uuid=cluster, description="d")

    in_cloud(tmp_path, body)
