"""WatchResources over a socket: what matches, as it comes, changes and goes; resumed anywhere without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.cloud import CHANNEL, Api, ApiError, running_node
from zcloud.api import position
from zcloud.api.operations import watch_resources as watching
from zcloud.v1 import cluster_pb2, zone_pb2


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(go())


class Mirror:
    """A reader that keeps what it is told, by name."""

    def __init__(self, api: Api, message_type: Any = zone_pb2.Zone, **asked: Any) -> None:
        self.api, self.message_type, self.asked = api, message_type, asked
        self.known: dict[str, Any] = {}
        self.position = ""
        self.told: list[tuple[int, str]] = []
        self.stream: Any = None

    async def open(self, from_position: str = "") -> Mirror:
        self.stream = self.api.stream("WatchResources", from_position=from_position, **self.asked)
        return self

    async def batch(self) -> Mirror:
        """Up to the next bookmark."""
        async with asyncio.timeout(60):
            while True:
                answer = await anext(self.stream)
                self.take(answer)
                if not answer.change:
                    return self

    def take(self, answer: Any) -> None:
        if answer.change == 1:
            found = self.message_type()
            assert answer.resource.Unpack(found)
            assert found.uuid == answer.uuid
            self.known[answer.uuid] = found
        elif answer.change == 2:
            del self.known[answer.uuid]
        if answer.change:
            self.told.append((answer.change, answer.uuid))
        self.position = answer.position

    async def until(self, names: set[str]) -> None:
        async with asyncio.timeout(60):
            while self.names != names:
                await self.batch()

    @property
    def names(self) -> set[str]:
        return {found.name for found in self.known.values()}

    async def close(self) -> None:
        await self.stream.aclose()


def test_what_comes_changes_and_goes(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        first = (await api.call("CreateZone", name="a")).inventory
        mirror = await (await Mirror(api, kind="Zone", filter="state = Enabled").open()).batch()
        assert list(mirror.known.values()) == [first]
        second = (await api.call("CreateZone", name="b")).inventory.uuid
        await mirror.until({"a", "b"})
        await api.call("UpdateZone", uuid=second, name="bb")
        await mirror.until({"a", "bb"})
        await api.call("ChangeZoneState", uuid=second, state_event="disable")
        await mirror.until({"a"})
        assert mirror.told[-1] == (2, second)
        await api.call("ChangeZoneState", uuid=second, state_event="enable")
        await mirror.until({"a", "bb"})
        await api.done("DeleteZone", uuid=first.uuid)
        await mirror.until({"bb"})
        assert mirror.known[second] == (await api.call("GetZone", uuid=second)).inventory
        await mirror.close()

    in_cloud(tmp_path, body)


def test_a_change_of_what_it_refers_to_counts(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="a")).inventory.uuid
        await api.call("CreateCluster", name="c", zone_uuid=zone, hypervisor_type="Simulator")
        mirror = await Mirror(api, cluster_pb2.Cluster, kind="cluster", filter="zone.name = a").open()
        await mirror.until({"c"})
        await api.call("UpdateZone", uuid=zone, name="b")
        await mirror.until(set())
        await api.call("UpdateZone", uuid=zone, name="a")
        await mirror.until({"c"})
        await mirror.close()

    in_cloud(tmp_path, body)


def test_a_reader_that_comes_back_gets_the_difference_also_after_a_restart(tmp_path: Path) -> None:
    async def go() -> None:
        async with running_node(tmp_path) as api:
            zones = [(await api.call("CreateZone", name=f"z{n}")).inventory.uuid for n in range(4)]
            mirror = await (await Mirror(api, kind="zone").open()).batch()
            await mirror.close()
            await api.done("DeleteZone", uuid=zones[0])
            await api.call("UpdateZone", uuid=zones[1], name="y1")
            again = (await api.call("CreateZone", name="x")).inventory.uuid
        async with running_node(tmp_path) as api:
            mirror.api, mirror.told = api, []
            await (await mirror.open(mirror.position)).batch()
            assert mirror.names == {"y1", "z2", "z3", "x"}
            assert mirror.told == [(2, zones[0]), (1, zones[1]), (1, again)]
            # resumed in the middle of a difference: told again from the last bookmark on
            old = mirror.position
            await mirror.close()
            for n in range(3):
                await api.call("CreateZone", name=f"w{n}")
            await mirror.open(old)
            part = await anext(mirror.stream)
            assert (part.change, part.position) == (1, old)
            await mirror.close()
            await (await mirror.open(part.position)).batch()
            assert {"w0", "w1", "w2"} <= mirror.names
            await mirror.close()

    asyncio.run(go())


def test_writers_and_a_reader_that_comes_and_goes_end_with_the_same(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        async def write(n: int) -> None:
            zone = (await api.call("CreateZone", name=f"z{n}")).inventory.uuid
            await api.call("ChangeZoneState", uuid=zone, state_event="disable")
            if n % 2:
                await api.call("ChangeZoneState", uuid=zone, state_event="enable")
            if n % 3 == 0:
                await api.done("DeleteZone", uuid=zone)

        writing = asyncio.gather(*(write(n) for n in range(12)))
        mirror = Mirror(api, kind="zone", filter="state = Enabled")
        while not writing.done():
            await (await mirror.open(mirror.position)).batch()
            await mirror.close()
        await writing
        await (await mirror.open(mirror.position)).batch()
        await mirror.close()
        found = (await api.call("QueryZone", filter="state = Enabled")).inventories
        assert mirror.known == {zone.uuid: zone for zone in found}

    in_cloud(tmp_path, body)


def test_nobody_is_told_what_they_may_not_see(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        bob, as_bob = await api.account("bob")
        offering = (
            await api.call("CreateInstanceOffering", name="small", cpu_num=1, memory_size=1 << 30)
        ).inventory.uuid
        from zcloud.v1.instance_offering_pb2 import InstanceOffering

        mirror = await (await Mirror(as_bob, InstanceOffering, kind="instance_offering").open()).batch()
        assert mirror.names == set()
        await api.call("ShareResource", resource_uuids=[offering], account_uuids=[bob])
        await mirror.until({"small"})
        await api.call("RevokeResourceSharing", resource_uuids=[offering], account_uuids=[bob])
        await mirror.until(set())
        await mirror.close()
        nothing = await (await Mirror(as_bob, kind="zone").open()).batch()
        assert nothing.told == []
        await nothing.close()

    in_cloud(tmp_path, body)


def test_from_now_on_and_bookmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 0.05)

    async def body(api: Api) -> None:
        await api.call("CreateZone", name="before")
        mirror = await (await Mirror(api, kind="zone").open("now")).batch()
        assert mirror.told == []
        begun = mirror.position
        await api.call("CreateInstanceOffering", name="o", cpu_num=1, memory_size=1 << 30)
        async with asyncio.timeout(60):
            while mirror.position == begun:  # what does not matter moves the bookmark
                await mirror.batch()
        assert mirror.told == []
        await api.call("CreateZone", name="after")
        await mirror.until({"after"})
        await mirror.close()

    in_cloud(tmp_path, body)


async def nobody_watches(api: Api) -> None:
    async with asyncio.timeout(60):
        while api.node.growth._watchers:  # noqa: ASYNC110 - who leaves tells nobody
            await asyncio.sleep(0.02)


def test_a_reader_that_is_too_slow_is_told_where_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BUFFER", 4)
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0.1)

    async def body(api: Api) -> None:
        # more than the transport holds by itself
        zones = [
            (await api.call("CreateZone", name=f"z{n}", description="x" * 2000)).inventory.uuid for n in range(200)
        ]
        narrow = (*CHANNEL, ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
        async with asyncio.timeout(60), grpc.aio.insecure_channel(api.node.address, options=narrow) as channel:
            stream = Api(api.node, channel, api.token).stream("WatchResources", kind="zone")
            await anext(stream)
            await nobody_watches(api)  # it was given up, by however busy a node
            with pytest.raises(ApiError) as refused:
                async for _ in stream:
                    pass
        assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "SLOW_READER")
        assert "from_position" in refused.value.facts
        monkeypatch.setattr(watching, "PATIENCE_SECONDS", 60.0)
        mirror = await (await Mirror(api, kind="zone").open(refused.value.facts["from_position"])).batch()
        assert set(mirror.known) == set(zones)
        await mirror.close()
        await nobody_watches(api)

    in_cloud(tmp_path, body)


def test_what_cannot_be_watched_is_refused_by_name(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        ahead = position.encode(api.node.cloud.log.head + 100)
        for fields, name in (
            ({}, "kind"),
            ({"kind": "zome"}, "kind"),
            ({"kind": "zone", "filter": "colour = 1"}, "filter"),
            ({"kind": "zone", "from_position": "x"}, "from_position"),
            ({"kind": "zone", "from_position": ahead}, "from_position"),
        ):
            with pytest.raises(ApiError) as refused:
                await anext(api.stream("WatchResources", **fields))
            assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", [name])

    in_cloud(tmp_path, body)
