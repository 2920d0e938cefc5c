"""Tags, quotas and settings of single resources on each store, and after a new start."""

from __future__ import annotations

import asyncio

from tests.api.stores.conftest import Cloud

POLICY = {"category": "vm", "name": "deletionPolicy"}


def test_tags_quotas_and_settings_on_each_store(cloud: Cloud) -> None:
    """TAG-06, ACC-06, UI-04: the same answers on both, and again by the node that comes after."""

    async def go() -> None:
        async with cloud() as api:
            uuid, _ = await api.account("alice")
            for name, tag in (("a", "retired"), ("b", "")):
                zone = (await api.call("CreateZone", name=name)).inventory.uuid
                if tag:
                    await api.call("CreateUserTag", tag=tag, resource_type="ZoneVO", resource_uuid=zone)
            await api.call("UpdateResourceConfig", **POLICY, resource_uuid=zone, value="Never")
            await api.call("UpdateQuota", identity_uuid=uuid, name="vm.num", value=3)
        async with cloud() as api:
            for filter, found in (
                ("tag = retired", "a"),
                ('tag : "tir"', "a"),
                ("NOT tag = retired", "b"),
                ("tag = null", "b"),
                ("user_tags:*", "a"),
            ):
                assert [z.name for z in (await api.call("QueryZone", filter=filter)).inventories] == [found], filter
            value = await api.call("GetResourceConfig", **POLICY, resource_uuid=zone)
            assert (value.value, value.resource_kind) == ("Never", "zone")
            usages = (await api.call("GetAccountQuotaUsage", uuid=uuid)).usages
            assert {u.name: u.total for u in usages}["vm.num"] == 3
            opened = [r.topic for r in api.node.recorder.read_all(0, 10_000) if r.topic == "account_usage.Opened"]
            assert len(opened) == 1  # the second start has opened nothing anew

    asyncio.run(go())
