"""at_time and at_position: resources and queries as of then, over a socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from projections import past
from tests.support.cloud import Api, ApiError, running_node
from zcloud.api import position


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(go())


async def names(api: Api, rpc: str = "QueryZone", **asked: Any) -> list[str]:
    """What a query finds, by name, in the query's order."""
    return [found.name for found in (await api.call(rpc, **asked)).inventories]


async def refused(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as error:
        await call
    return error.value


def test_a_resource_at_every_moment_of_its_life(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        before = api.position or position.encode(api.node.cloud.log.head)
        zone = (await api.call("CreateZone", name="z0")).inventory
        moments = [(api.position, zone)]
        for n in range(1, 4):
            changed = (await api.call("UpdateZone", uuid=zone.uuid, name=f"z{n}")).inventory
            moments.append((api.position, changed))
        changed = (await api.call("ChangeZoneState", uuid=zone.uuid, state_event="disable")).inventory
        moments.append((api.position, changed))
        await api.done("DeleteZone", uuid=zone.uuid)
        assert (await refused(api.call("GetZone", uuid=zone.uuid))).code == "NOT_FOUND"
        for at, inventory in moments:
            assert (await api.call("GetZone", uuid=zone.uuid, at_position=at)).inventory == inventory
            timed = await api.call("GetZone", uuid=zone.uuid, at_time=inventory.last_op_date)
            assert timed.inventory == inventory
            assert list((await api.call("QueryZone", at_position=at)).inventories) == [inventory]
            assert list((await api.call("QueryZone", at_time=inventory.last_op_date)).inventories) == [inventory]
        assert (await refused(api.call("GetZone", uuid=zone.uuid, at_position=before))).code == "NOT_FOUND"
        after = position.encode(api.node.cloud.log.head)
        assert (await refused(api.call("GetZone", uuid=zone.uuid, at_position=after))).code == "NOT_FOUND"
        assert await names(api, at_position=before) == await names(api, at_position=after) == []

    in_cloud(tmp_path, body)


def test_a_query_walks_the_relations_of_then(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zones = [(await api.call("CreateZone", name=f"z{n}")).inventory.uuid for n in range(2)]
        for n in range(3):
            await api.call("CreateCluster", name=f"c{n}", zone_uuid=zones[n % 2], hypervisor_type="Simulator")
        then = api.position
        await api.call("UpdateZone", uuid=zones[0], name="renamed")
        await api.call("CreateCluster", name="c4", zone_uuid=zones[0], hypervisor_type="Simulator")
        asked = {"order_by": "name desc"}
        assert await names(api, "QueryCluster", filter="zone.name = z0", **asked) == []
        assert await names(api, "QueryCluster", filter="zone.name = z0", at_position=then, **asked) == ["c2", "c0"]
        assert await names(api, "QueryCluster", filter="zone.name = renamed", at_position=then) == []
        assert await names(api, filter="clusters.name = c1", at_position=then) == ["z1"]
        # kinds that a moment was not asked for before are folded when they are
        assert await names(api, "QueryCluster", filter="zone.state = Enabled", at_position=then, **asked) == [
            "c2",
            "c1",
            "c0",
        ]
        wrong = await refused(api.call("QueryCluster", filter="zome.name = x", at_position=then))
        assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["filter"])
        assert "zone" in wrong.message

    in_cloud(tmp_path, body)


def test_pages_count_and_mask_as_of_then(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for n in range(5):
            await api.call("CreateZone", name=f"z{n}", description="long")
        then = api.position
        for n in range(5):
            await api.call("CreateZone", name=f"y{n}")
        asked: dict[str, Any] = {"at_position": then, "order_by": "name", "page_size": 2, "count": True}
        seen, token = [], ""
        while True:
            page = await api.call("QueryZone", page_token=token, **asked)
            assert page.total == 5
            seen += [zone.name for zone in page.inventories]
            token = page.next_page_token
            if not token:
                break
        assert seen == [f"z{n}" for n in range(5)]
        masked = await api.call("QueryZone", at_position=then, read_mask={"paths": ["name"]})
        assert {(zone.uuid, zone.description) for zone in masked.inventories} == {("", "")}

    in_cloud(tmp_path, body)


def test_times_in_a_filter_count_from_then(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        first = (await api.call("CreateZone", name="first")).inventory
        await asyncio.sleep(1.1)
        await api.call("CreateZone", name="second")
        recent = "create_date > -1s"
        assert "first" not in await names(api, filter=recent)
        assert await names(api, filter=recent, at_time=first.create_date) == ["first"]

    in_cloud(tmp_path, body)


def test_who_saw_it_then_sees_it_as_of_then(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        bob, as_bob = await api.account("bob")
        _, as_eve = await api.account("eve")
        offering = (
            await api.call("CreateInstanceOffering", name="small", cpu_num=1, memory_size=1 << 30)
        ).inventory.uuid
        alone = api.position
        await api.call("ShareResource", resource_uuids=[offering], account_uuids=[bob])
        shared = api.position
        await api.call("RevokeResourceSharing", resource_uuids=[offering], account_uuids=[bob])
        for moment, seen in ((alone, []), (shared, ["small"]), (api.position, [])):
            assert await names(as_bob, "QueryInstanceOffering", at_position=moment) == seen
            assert await names(as_eve, "QueryInstanceOffering", at_position=moment) == []
            asked = {"uuid": offering, "at_position": moment}
            if seen:
                assert (await as_bob.call("GetInstanceOffering", **asked)).inventory.name == "small"
            else:
                assert (await refused(as_bob.call("GetInstanceOffering", **asked))).code == "NOT_FOUND"
            assert (await refused(as_eve.call("GetInstanceOffering", **asked))).code == "NOT_FOUND"

    in_cloud(tmp_path, body)


def test_what_is_no_moment_is_refused_by_name(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory
        future = {"seconds": zone.create_date.seconds + 3600}
        ahead = position.encode(api.node.cloud.log.head + 1)
        garbage = ["x", "p1.1", ahead + "!", position.encode(1) + "A", "ä", "cDIuMQ"]
        for rpc, fields in (("GetZone", {"uuid": zone.uuid}), ("QueryZone", {})):
            error = await refused(api.call(rpc, at_time=future, **fields))
            assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["at_time"])
            assert re.search(
                r'"[-0-9]+T[:0-9]+Z": must not lie in the future; here it is [-0-9]+T[.:0-9]+Z', str(error)
            )
            for token in (ahead, *garbage):
                error = await refused(api.call(rpc, at_position=token, **fields))
                assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["at_position"]), token
            error = await refused(api.call(rpc, at_time=zone.create_date, at_position=api.position, **fields))
            assert (error.code, set(error.fields)) == ("INVALID_ARGUMENT", {"at_time", "at_position"})
        for early in ({"seconds": 0}, {"seconds": -5}, {"seconds": 1}):
            assert await names(api, at_time=early) == []
            assert (await refused(api.call("GetZone", uuid=zone.uuid, at_time=early))).code == "NOT_FOUND"

    in_cloud(tmp_path, body)


def test_a_job_as_of_then_and_facts_beside_a_resource(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory.uuid
        await api.call("CreateCluster", name="c", zone_uuid=zone, hypervisor_type="Simulator")
        begun = await api.call("DeleteZone", uuid=zone)
        at = api.position
        assert (await api.wait(begun.job_uuid)).state == 4
        job = (await api.call("GetJob", uuid=begun.job_uuid, at_position=at)).inventory
        assert job.state in (job.STATE_WAITING, job.STATE_RUNNING)
        assert await names(api, at_position=at) == ["z"]
        assert await names(api) == []

    in_cloud(tmp_path, body)


def test_what_is_kept_of_the_past_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "MOMENTS", 3)

    async def body(api: Api) -> None:
        moments = []
        for n in range(6):
            await api.call("CreateZone", name=f"z{n}")
            moments.append(api.position)

        async def look(n: int) -> None:
            assert await names(api, at_position=moments[n], order_by="name") == [f"z{m}" for m in range(n + 1)]

        await asyncio.gather(*(look(n) for n in range(6) for _ in range(4)))
        assert len(api.node.past._kept) <= 3
        monkeypatch.setattr(past, "RESOURCES", 2)
        await look(0)
        await look(5)
        assert len(api.node.past._kept) == 1

    in_cloud(tmp_path, body)


def test_a_query_as_of_now_is_the_query(tmp_path: Path) -> None:
    """Every kind's rows made of the log in memory are those that the follower made."""

    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory.uuid
        await api.call("CreateCluster", name="c", zone_uuid=zone, hypervisor_type="Simulator")
        await api.call("CreateInstanceOffering", name="small", cpu_num=1, memory_size=1 << 30)
        await api.account("bob")
        now = position.encode(api.node.cloud.log.head)
        for model in api.node.models:
            rpc = f"Query{model.message_type.DESCRIPTOR.name}"
            live = await api.call(rpc, page_size=1000)
            assert await api.call(rpc, page_size=1000, at_position=now) == live, rpc

    in_cloud(tmp_path, body)
