"""L3 networks, IP ranges and offerings as callers meet them (L3-01..05, L3-15, OFR-02)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Api, ApiError, running_node

SIZE = {"cpu_num": 1, "memory_size": 1 << 28}


async def refused(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as error:
        await call
    return error.value


async def l2_network(api: Api, device: str = "eth1") -> Any:
    zone = (await api.call("CreateZone", name="z")).inventory
    made = await api.call("CreateL2NoVlanNetwork", name="l2", zone_uuid=zone.uuid, physical_interface=device)
    return made.inventory


def test_an_l3_network_and_its_ranges(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            l2 = await l2_network(api)
            assert (l2.type, l2.physical_interface) == ("L2NoVlanNetwork", "eth1")
            await api.call("UpdateL2Network", uuid=l2.uuid, name="lan")
            assert (await api.call("GetL2NoVlanNetwork", uuid=l2.uuid)).inventory.name == "lan"
            found = await api.call("QueryL2NoVlanNetwork", filter='physical_interface = "eth1"')
            assert [one.uuid for one in found.inventories] == [l2.uuid]
            made = await api.call(
                "CreateL3Network",
                name="flat",
                l2_network_uuid=l2.uuid,
                dns=["10.0.0.53"],
                dns_domain="lan",
                dhcp_server_ip="10.0.0.3",
            )
            l3 = made.inventory
            assert (l3.zone_uuid, l3.category, l3.state) == (l2.zone_uuid, l3.CATEGORY_PRIVATE, l3.STATE_ENABLED)
            assert (l3.ip_allocator_strategy, l3.dhcp_server_ip) == ("Random", "10.0.0.3")

            await api.call("AddDnsToL3Network", l3_network_uuid=l3.uuid, dns="10.0.0.54")
            twice = await refused(api.call("AddDnsToL3Network", l3_network_uuid=l3.uuid, dns="10.0.0.54"))
            assert twice.code == "FAILED_PRECONDITION"
            await api.call("RemoveDnsFromL3Network", l3_network_uuid=l3.uuid, dns="10.0.0.53")
            await api.call("ChangeL3NetworkState", uuid=l3.uuid, state_event="disable")
            await api.call("UpdateL3Network", uuid=l3.uuid, dns_domain="example.org")
            read = (await api.call("GetL3Network", uuid=l3.uuid)).inventory
            assert (list(read.dns), read.state, read.dns_domain) == (["10.0.0.54"], l3.STATE_DISABLED, "example.org")

            added = await api.call(
                "AddIpRangeByNetworkCidr", name="r", l3_network_uuid=l3.uuid, network_cidr="10.0.0.0/24"
            )
            found = (await api.call("GetIpRange", uuid=added.inventory.uuid)).inventory
            assert (found.start_ip, found.end_ip, found.gateway) == ("10.0.0.2", "10.0.0.254", "10.0.0.1")
            # The DHCP server has one of them.
            assert (found.netmask, found.total_ips, found.available_ips) == ("255.255.255.0", 253, 252)

            await api.call("UpdateIpRange", uuid=found.uuid, description="for guests")
            assert (await api.call("GetIpRange", uuid=found.uuid)).inventory.description == "for guests"

            overlap = await refused(
                api.call(
                    "AddIpRange",
                    name="again",
                    l3_network_uuid=l3.uuid,
                    start_ip="10.0.0.250",
                    end_ip="10.0.0.254",
                    netmask="255.255.255.0",
                    gateway="10.0.0.1",
                )
            )
            assert (overlap.code, overlap.reason) == ("FAILED_PRECONDITION", "OVERLAP")
            wrong = await refused(
                api.call("AddIpRangeByNetworkCidr", name="w", l3_network_uuid=l3.uuid, network_cidr="127.0.0.0/24")
            )
            assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["network_cidr"])
            absent = await refused(
                api.call("AddIpRangeByNetworkCidr", name="a", l3_network_uuid="0" * 32, network_cidr="10.0.0.0/24")
            )
            assert absent.code == "NOT_FOUND"
            assert (await api.call("QueryIpRange", count=True)).total == 1

            # The network goes with all that is on it, and its uuid may be used again.
            await api.done("DeleteL2Network", uuid=l2.uuid)
            for rpc in ("QueryL2Network", "QueryL3Network", "QueryIpRange"):
                assert (await api.call(rpc, count=True)).total == 0
            again = await l2_network(api)
            same = await api.call("CreateL3Network", name="n", l2_network_uuid=again.uuid, resource_uuid=l3.uuid)
            assert same.inventory.dhcp_server_ip == ""

    asyncio.run(flow())


def test_a_chosen_dhcp_server_must_be_an_address_that_a_guest_can_reach(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            l2 = await l2_network(api)
            for wrong in ("127.0.0.1", "224.0.0.1", "not an address"):
                error = await refused(
                    api.call("CreateL3Network", name="x", l2_network_uuid=l2.uuid, dhcp_server_ip=wrong)
                )
                assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["dhcp_server_ip"])
            assert (await api.call("QueryL3Network", count=True)).total == 0

    asyncio.run(flow())


def test_offerings_are_the_admins_and_may_be_shared(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            made = (await api.call("CreateInstanceOffering", name="small", **SIZE)).inventory
            assert (made.allocator_strategy, made.shared_to_public) == ("LeastVmPreferred", False)
            wrong = await refused(api.call("CreateInstanceOffering", name="x", **SIZE, allocator_strategy="Cheapest"))
            assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["allocator_strategy"])
            _, user = await api.account("user")
            assert (await refused(user.call("GetInstanceOffering", uuid=made.uuid))).code == "NOT_FOUND"
            assert (await refused(user.call("CreateInstanceOffering", name="mine", **SIZE))).code == "PERMISSION_DENIED"
            await api.call("ShareResource", resource_uuids=[made.uuid], to_public=True)
            seen = await user.call("QueryInstanceOffering", filter='name = "small"')
            assert [(one.uuid, one.shared_to_public) for one in seen.inventories] == [(made.uuid, True)]
            await api.call("UpdateInstanceOffering", uuid=made.uuid, name="tiny")
            off = await api.call("ChangeInstanceOfferingState", uuid=made.uuid, state_event="disable")
            assert (off.inventory.name, off.inventory.state) == ("tiny", made.STATE_DISABLED)
            await api.done("DeleteInstanceOffering", uuid=made.uuid)
            assert (await refused(api.call("GetInstanceOffering", uuid=made.uuid))).code == "NOT_FOUND"

    asyncio.run(flow())


def test_who_sees_a_network_sees_its_ranges(tmp_path: Path) -> None:
    async def flow() -> None:
        async with running_node(tmp_path) as api:
            l2 = await l2_network(api)
            ranges = []
            for number in range(2):
                l3 = (await api.call("CreateL3Network", name=f"l3-{number}", l2_network_uuid=l2.uuid)).inventory
                cidr = f"10.0.{number}.0/24"
                made = await api.call("AddIpRangeByNetworkCidr", name="r", l3_network_uuid=l3.uuid, network_cidr=cidr)
                ranges.append(made.inventory)
            lent, hidden = ranges
            uuid, account = await api.account("tenant")

            async def seen(**asked: Any) -> list[str]:
                return [found.uuid for found in (await account.call("QueryIpRange", **asked)).inventories]

            assert await seen() == []
            before = api.position
            await api.call("ShareResource", resource_uuids=[lent.l3_network_uuid], account_uuids=[uuid])
            shared = api.position
            assert await seen() == [lent.uuid]
            assert await seen(filter="l3_network.name = l3-0") == [lent.uuid]
            assert (await account.call("GetIpRange", uuid=lent.uuid)).inventory.network_cidr == "10.0.0.0/24"
            assert (await refused(account.call("GetIpRange", uuid=hidden.uuid))).code == "NOT_FOUND"
            lan = await account.call("QueryL3Network", filter='ip_ranges.network_cidr = "10.0.0.0/24"')
            assert [found.uuid for found in lan.inventories] == [lent.l3_network_uuid]
            assert (
                await refused(account.call("UpdateIpRange", uuid=lent.uuid, name="mine"))
            ).code == "PERMISSION_DENIED"
            await api.call("RevokeResourceSharing", resource_uuids=[lent.l3_network_uuid], account_uuids=[uuid])
            assert await seen() == []
            # what was visible then is visible as of then
            assert await seen(at_position=shared) == [lent.uuid]
            assert (await account.call("GetIpRange", uuid=lent.uuid, at_position=shared)).inventory.uuid == lent.uuid
            assert await seen(at_position=before) == []
            assert (await refused(account.call("GetIpRange", uuid=lent.uuid, at_position=before))).code == "NOT_FOUND"

    asyncio.run(flow())
