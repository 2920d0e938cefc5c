"""Networks in use: what NICs hold is not taken away, unless it is enforced (behaviours 10, 12)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.api.network.test_networks import l2_network, refused
from tests.support.cloud import Api, running_node
from zcloud.domain.network.addresses import Address, allocate, release
from zcloud.domain.network.l3_network import L3Network
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Reason, Refused
from zcloud.kernel.unit import Unit


async def flat(api: Api, l2_uuid: str, cidr: str = "10.0.0.0/24") -> tuple[str, str]:
    """An L3 network and its range."""
    l3 = (await api.call("CreateL3Network", name="flat", l2_network_uuid=l2_uuid)).inventory.uuid
    made = await api.call("AddIpRangeByNetworkCidr", name="r", l3_network_uuid=l3, network_cidr=cidr)
    return l3, made.inventory.uuid


async def give(api: Api, l3_uuid: str, nic_uuid: str, wanted: str = "") -> Address:
    """As a decision does that makes a NIC."""

    async def body(unit: Unit) -> Address:
        return await allocate(unit, await unit.get(L3Network, l3_uuid), nic_uuid, wanted)

    found: Address = (await api.node.cloud.decide(Context(), body)).value
    return found


async def take_back(api: Api, ip_range_uuid: str, nic_uuid: str) -> None:
    await api.node.cloud.decide(Context(), lambda unit: release(unit, ip_range_uuid, nic_uuid))


@pytest.mark.parametrize("rpc", ["DeleteIpRange", "DeleteL3Network", "DeleteL2Network"])
def test_permissive_refuses_and_enforcing_does_it(tmp_path: Path, rpc: str) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            l2 = (await l2_network(api)).uuid
            l3, ip_range = await flat(api, l2)
            nic = "d" * 32
            uuid = {"DeleteIpRange": ip_range, "DeleteL3Network": l3, "DeleteL2Network": l2}[rpc]
            await give(api, l3, nic)
            error = await refused(api.call(rpc, uuid=uuid))
            assert (error.code, error.reason) == ("FAILED_PRECONDITION", "STILL_IN_USE")
            assert nic in error.message
            assert (await api.call("GetIpRange", uuid=ip_range)).inventory.available_ips == 251
            assert (await api.call("QueryJob", count=True)).total == 0
            await api.done(rpc, uuid=uuid, delete_mode="enforcing")
            assert (await refused(api.call("GetIpRange", uuid=ip_range))).code == "NOT_FOUND"

    asyncio.run(flow())


def test_a_range_whose_nics_are_gone_may_go(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            l3, ip_range = await flat(api, (await l2_network(api)).uuid)
            await give(api, l3, "d" * 32)
            await take_back(api, ip_range, "d" * 32)
            read = (await api.call("GetL3Network", uuid=l3)).inventory
            # The DHCP server's address is no NIC's, and goes with the range it came from.
            assert read.dhcp_server_ip == "10.0.0.254"
            await api.done("DeleteIpRange", uuid=ip_range)
            assert (await api.call("GetL3Network", uuid=l3)).inventory.dhcp_server_ip == ""
            other = {"name": "o", "l3_network_uuid": l3, "network_cidr": "10.7.0.0/24"}
            await api.call("AddIpRangeByNetworkCidr", **other)

    asyncio.run(flow())


def test_many_at_a_time_and_a_restart(tmp_path: Path) -> None:
    async def flow() -> None:
        nics = [f"{n:032x}" for n in range(59)]
        async with running_node(tmp_path) as api:
            l3, ip_range = await flat(api, (await l2_network(api)).uuid, "10.0.0.0/26")
            given = await asyncio.gather(*(give(api, l3, nic) for nic in nics))
            assert len({address.ip for address in given}) == len(nics)
            version = (await api.call("GetL3Network", uuid=l3)).inventory.version
            assert version == 1  # what a caller knows of the network is still right
            assert (await api.call("GetIpRange", uuid=ip_range)).inventory.available_ips == 1
        async with running_node(tmp_path) as api:
            with pytest.raises(Refused) as taken:
                await give(api, l3, "e" * 32, given[0].ip)
            assert taken.value.reason is Reason.ADDRESS_TAKEN
            assert (await give(api, l3, "e" * 32)).ip not in {address.ip for address in given}
            assert (await api.call("GetIpRange", uuid=ip_range)).inventory.available_ips == 0

    asyncio.run(flow())


def test_a_zone_goes_with_its_networks(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            l2 = await l2_network(api)
            await flat(api, l2.uuid)
            cluster = (await api.call("CreateCluster", name="c", zone_uuid=l2.zone_uuid)).inventory.uuid
            await api.done("AttachL2NetworkToCluster", l2_network_uuid=l2.uuid, cluster_uuid=cluster)
            await api.done("DeleteZone", uuid=l2.zone_uuid)
            for rpc in ("QueryL2Network", "QueryL3Network", "QueryIpRange", "QueryCluster"):
                assert (await api.call(rpc, count=True)).total == 0

    asyncio.run(flow())
