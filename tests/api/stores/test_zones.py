"""Zones through the API on each store: write, read, query, history, request ids, refusals, restart."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.stores.conftest import Cloud
from tests.support.cloud import Api, ApiError


async def names(api: Api, **question: str) -> list[str]:
    return [zone.name for zone in (await api.call("QueryZone", **question)).inventories]


def test_what_is_written_is_read_at_once_and_in_the_order_of_bytes(cloud: Cloud) -> None:
    async def run() -> None:
        async with cloud() as api:
            for name in ("zone-b", "Zone-C", "zone-a", "ähre", "Zebra"):
                made = (await api.call("CreateZone", name=name, description=f"it is {name}")).inventory
                assert (await api.call("GetZone", uuid=made.uuid)).inventory == made
            assert await names(api, order_by="name") == ["Zebra", "Zone-C", "zone-a", "zone-b", "ähre"]
            assert await names(api, filter='name >= "zone"', order_by="name desc") == ["ähre", "zone-b", "zone-a"]
            assert await names(api, filter='name = "zone-*" AND NOT name:"b"') == ["zone-a"]

    asyncio.run(run())


def test_many_at_once_are_all_answered_with_what_is_stored(cloud: Cloud) -> None:
    async def run() -> None:
        async with cloud() as api:
            made = await asyncio.gather(*(api.call("CreateZone", name=f"zone {n}") for n in range(100)))
            found = (await api.call("QueryZone", page_size=200)).inventories
            assert {z.uuid: z for z in found} == {m.inventory.uuid: m.inventory for m in made}
            records = api.node.recorder.read_all(0, 10_000)
            assert [r.position for r in records] == list(range(1, len(records) + 1))
            moments = [r.time for r in records]
            assert moments == sorted(moments)

    asyncio.run(run())


def test_a_request_id_gives_the_first_answer_after_a_restart_too(cloud: Cloud) -> None:
    async def run() -> None:
        key = {"zcloud-request": "only once"}
        async with cloud() as api:
            both = await asyncio.gather(*(api.call("CreateZone", key, name="one") for _ in range(2)))
            assert both[0] == both[1]
            uuid = both[0].inventory.uuid
            await api.call("UpdateZone", uuid=uuid, name="renamed")
            events = (await api.call("GetHistory", resource_uuid=uuid)).events
        async with cloud() as api:
            assert await api.call("CreateZone", key, name="one") == both[0]
            assert await names(api) == ["renamed"]
            assert (await api.call("GetHistory", resource_uuid=uuid)).events == events
            assert [e.type for e in events] == ["zone.Created", "zone.Updated"]
            with pytest.raises(ApiError) as other:
                await api.call("CreateZone", key, name="two")
            assert other.value.reason == "REQUEST_REUSED"
            await api.done("DeleteZone", uuid=uuid)
        async with cloud() as api:
            assert await names(api) == []
            with pytest.raises(ApiError) as gone:
                await api.call("GetZone", uuid=uuid)
            assert gone.value.code == "NOT_FOUND"

    asyncio.run(run())


def test_writers_of_one_zone_take_turns(cloud: Cloud) -> None:
    async def run() -> None:
        async with cloud() as api:
            uuid = (await api.call("CreateZone", name="one")).inventory.uuid
            await asyncio.gather(*(api.call("UpdateZone", uuid=uuid, name=f"name {n}") for n in range(20)))
            found = (await api.call("GetZone", uuid=uuid)).inventory
            events = (await api.call("GetHistory", resource_uuid=uuid)).events
            assert [e.version for e in events] == list(range(1, 22))
            assert found.version == 21
            with pytest.raises(ApiError) as old:
                await api.call("UpdateZone", {"zcloud-if-version": "20"}, uuid=uuid, name="late")
            assert old.value.code == "ABORTED"

    asyncio.run(run())
