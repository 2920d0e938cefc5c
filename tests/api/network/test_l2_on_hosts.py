"""L2 networks on simulated hosts: bridges come and go with attachments, whoever is late or fails (CLU-05, L2-02)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import TaskError
from agents.simulator.host import SimulatedHost
from agents.simulator.world import DhcpServer
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
from zcloud.domain.network.l2_network import bridge_of
from zcloud.kernel.job import JobState


async def l2_network(api: Api, zone: str, device: str = "eth1") -> str:
    made = await api.call("CreateL2NoVlanNetwork", name=device, zone_uuid=zone, physical_interface=device)
    uuid: str = made.inventory.uuid
    return uuid


async def reason(api: Api, rpc: str, **fields: Any) -> str:
    with pytest.raises(ApiError) as error:
        await api.call(rpc, **fields)
    return error.value.reason


async def failed(api: Api, rpc: str, **fields: Any) -> Any:
    """The job, which must have failed."""
    job = await api.wait((await api.call(rpc, **fields)).job_uuid)
    assert job.state == job.STATE_FAILED, job
    return job


async def shown(api: Api, l2: str, cluster: str) -> tuple[list[str], list[str]]:
    """What network and cluster say of each other."""
    network = (await api.call("GetL2Network", uuid=l2)).inventory
    rack = (await api.call("GetCluster", uuid=cluster)).inventory
    return list(network.attached_cluster_uuids), list(rack.l2_network_uuids)


def test_attach_late_host_and_detach(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            zone, cluster = await simulator_cluster(api)
            l2 = await l2_network(api, zone)
            first = await add_simulator(api, cluster, "first")
            late = await add_simulator(api, cluster, "late")
            both = {"l2_network_uuid": l2, "cluster_uuid": cluster}
            async with simulated_hosts(api, first):
                await host_connected(api, first.host_uuid)
                await api.done("AttachL2NetworkToCluster", **both)
                assert first.world.bridges == {bridge_of(l2): "eth1"}
                assert await shown(api, l2, cluster) == ([cluster], [l2])
                assert await reason(api, "AttachL2NetworkToCluster", **both) == "ALREADY_ATTACHED"
                same = await l2_network(api, zone)
                taken = {"l2_network_uuid": same, "cluster_uuid": cluster}
                assert await reason(api, "AttachL2NetworkToCluster", **taken) == "OVERLAP"
                _, elsewhere = await simulator_cluster(api, "elsewhere")
                far = {"l2_network_uuid": l2, "cluster_uuid": elsewhere}
                assert await reason(api, "AttachL2NetworkToCluster", **far) == "NOT_SAME_ZONE"
                assert await reason(api, "DetachL2NetworkFromCluster", **far) == "NOT_ATTACHED"

                async with simulated_hosts(api, late):
                    await host_connected(api, late.host_uuid)
                    assert late.world.bridges == {bridge_of(l2): "eth1"}
                    l3 = (await api.call("CreateL3Network", name="l3", l2_network_uuid=l2)).inventory.uuid
                    for host in (first, late):
                        host.world.dhcp[l3] = DhcpServer(bridge_of(l2))
                    await api.done("DetachL2NetworkFromCluster", **both)
                    for host in (first, late):
                        assert (host.world.bridges, host.world.dhcp) == ({}, {})
                assert await shown(api, l2, cluster) == ([], [])
                # The device is free for the other network.
                await api.done("AttachL2NetworkToCluster", **taken)
                assert first.world.bridges == {bridge_of(same): "eth1"}

    asyncio.run(flow())


def test_a_host_that_fails_undoes_the_attach(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            zone, cluster = await simulator_cluster(api)
            l2 = await l2_network(api, zone)
            hosts = [await add_simulator(api, cluster, name) for name in ("a", "b", "c")]
            both = {"l2_network_uuid": l2, "cluster_uuid": cluster}
            async with simulated_hosts(api, *hosts):
                for host in hosts:
                    await host_connected(api, host.host_uuid)
                hosts[1].pace.faults.order("ApplyL2NetworkTask", TaskError("NOT_FOUND", "there is no device eth1"))
                job = await failed(api, "AttachL2NetworkToCluster", **both)
                assert "there is no device eth1" in job.error
                assert [host.world.bridges for host in hosts] == [{}, {}, {}]
                assert await shown(api, l2, cluster) == ([], [])
                # Nothing of it is left in the way.
                await api.done("AttachL2NetworkToCluster", **both)
                assert all(host.world.bridges == {bridge_of(l2): "eth1"} for host in hosts)

                hosts[2].pace.faults.order("RemoveL2NetworkTask", TaskError("REFUSED", "in use by a stranger"))
                job = await failed(api, "DetachL2NetworkFromCluster", **both)
                assert "in use by a stranger" in job.error
                assert all(host.world.bridges == {bridge_of(l2): "eth1"} for host in hosts)
                assert await shown(api, l2, cluster) == ([cluster], [l2])

    asyncio.run(flow())


def test_a_host_that_was_away_loses_at_its_return_what_left_meanwhile(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            zone, cluster = await simulator_cluster(api)
            l2 = await l2_network(api, zone)
            gone = await l2_network(api, zone, "eth2")
            l3 = (await api.call("CreateL3Network", name="l3", l2_network_uuid=gone)).inventory.uuid
            host = await add_simulator(api, cluster)
            for uuid in (l2, gone):
                await api.done("AttachL2NetworkToCluster", l2_network_uuid=uuid, cluster_uuid=cluster)
            async with simulated_hosts(api, host):
                await host_connected(api, host.host_uuid)
                assert host.world.bridges == {bridge_of(l2): "eth1", bridge_of(gone): "eth2"}
                host.world.dhcp[l3] = DhcpServer(bridge_of(gone))

            async def away() -> bool:
                found = (await api.call("GetHost", uuid=host.host_uuid)).inventory
                return bool(found.status == found.STATUS_DISCONNECTED)

            await until(away)
            removed = (await api.call("CreateL3Network", name="removed", l2_network_uuid=l2)).inventory.uuid
            await api.done("DeleteL3Network", uuid=removed)
            await api.done("DetachL2NetworkFromCluster", l2_network_uuid=gone, cluster_uuid=cluster)
            # It comes back without one bridge that belongs to it, and with what left its cluster meanwhile.
            back = SimulatedHost(host.host_uuid)
            back.world.bridges[bridge_of(gone)] = "eth2"
            back.world.dhcp = {l3: DhcpServer(bridge_of(gone)), removed: DhcpServer(bridge_of(l2))}
            async with simulated_hosts(api, back):
                await host_connected(api, host.host_uuid)
                assert (back.world.bridges, back.world.dhcp) == ({bridge_of(l2): "eth1"}, {})

    asyncio.run(flow())


def test_deleting_takes_bridges_along(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            zone, cluster = await simulator_cluster(api)
            l2, other = await l2_network(api, zone), await l2_network(api, zone, "eth2")
            hosts = [await add_simulator(api, cluster, name) for name in ("a", "b")]
            async with simulated_hosts(api, *hosts):
                for host in hosts:
                    await host_connected(api, host.host_uuid)
                for uuid in (l2, other):
                    await api.done("AttachL2NetworkToCluster", l2_network_uuid=uuid, cluster_uuid=cluster)
                l3 = (await api.call("CreateL3Network", name="l3", l2_network_uuid=l2)).inventory.uuid
                for host in hosts:
                    host.world.dhcp[l3] = DhcpServer(bridge_of(l2))

                hosts[1].pace.faults.order("RemoveL2NetworkTask", TaskError("FAILED", "no"))
                job = await failed(api, "DeleteL2Network", uuid=l2)
                assert "no" in job.error
                assert all(bridge_of(l2) in host.world.bridges for host in hosts)
                assert (await shown(api, l2, cluster))[0] == [cluster]

                await api.done("DeleteL2Network", uuid=l2)
                for host in hosts:
                    assert (host.world.bridges, host.world.dhcp) == ({bridge_of(other): "eth2"}, {})
                rack = (await api.call("GetCluster", uuid=cluster)).inventory
                assert list(rack.l2_network_uuids) == [other]

                await api.done("DeleteHost", uuid=hosts[0].host_uuid)
                assert hosts[0].world.bridges == {}
                await api.done("DeleteCluster", uuid=cluster)
                assert hosts[1].world.bridges == {}
                left = (await api.call("GetL2Network", uuid=other)).inventory
                assert list(left.attached_cluster_uuids) == []

    asyncio.run(flow())


def test_a_node_that_is_killed_while_attaching_goes_on(tmp_path: Path) -> None:
    """The job is in the log: the next start of the node sends the task again."""

    async def flow() -> None:
        async with running_node(tmp_path) as api:
            zone, cluster = await simulator_cluster(api)
            l2 = await l2_network(api, zone)
            host = await add_simulator(api, cluster)
            async with simulated_hosts(api, host):
                await host_connected(api, host.host_uuid)
                host.pace.delay = 60
                made = await api.call("AttachL2NetworkToCluster", l2_network_uuid=l2, cluster_uuid=cluster)
        host.pace.delay = 0
        async with running_node(tmp_path) as api:
            job = await api.node.cloud.load(made.job_uuid)
            assert job is not None
            assert job.state is JobState.RUNNING
            async with simulated_hosts(api, host):
                ended = await api.wait(made.job_uuid)
                assert ended.state == ended.STATE_SUCCEEDED, ended
                assert host.world.bridges == {bridge_of(l2): "eth1"}

    asyncio.run(flow())
