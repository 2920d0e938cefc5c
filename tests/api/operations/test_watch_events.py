"""WatchEvents and GetHistory: in order, without gaps, resumable anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Api, ApiError, running_node
from zcloud.api import position
from zcloud.api.operations import event as watching


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(go())


async def take(api: Api, count: int, **wanted: Any) -> list[Any]:
    """The first so many events of a stream."""
    found: list[Any] = []
    stream = api.stream("WatchEvents", **wanted)
    async with asyncio.timeout(60):
        while len(found) < count:
            answer = await anext(stream)
            if answer.HasField("event"):
                assert answer.position == answer.event.position
                found.append(answer.event)
    await stream.aclose()
    return found


def test_all_that_happened_and_then_what_happens(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        past = api.node.recorder.head()
        watcher = asyncio.create_task(take(api, past + 30))
        await asyncio.gather(*(api.call("CreateZone", name=f"z{n}") for n in range(30)))
        events = await watcher
        assert [position.decode(e.position, "") for e in events] == list(range(1, past + 31))
        times = [e.time.ToMicroseconds() for e in events]
        assert times == sorted(set(times)) or len(times) > len(set(times))
        assert [e.type for e in events[past:]] == ["zone.Created"] * 30
        zone = events[-1]
        assert (zone.resource_kind, zone.version, zone.origin, zone.zone_uuid) == (
            "zone",
            1,
            "CreateZone",
            zone.resource_uuid,
        )
        assert zone.data["name"].startswith("z")

    in_cloud(tmp_path, body)


def test_a_watcher_that_comes_back_misses_nothing_and_sees_nothing_twice(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        seen: list[int] = []
        at = ""

        async def write() -> None:
            for n in range(40):
                await api.call("CreateZone", name=f"z{n}")

        writing = asyncio.create_task(write())
        head = api.node.recorder.head()
        while len(seen) < head + 40:
            for event in await take(api, min(7, head + 40 - len(seen)), from_position=at):
                seen.append(position.decode(event.position, ""))
                at = event.position
        await writing
        assert seen == list(range(1, head + 41))

    in_cloud(tmp_path, body)


def test_from_now_on(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.call("CreateZone", name="before")
        stream = api.stream("WatchEvents", from_position="now")
        first = await anext(stream)
        assert not first.HasField("event")
        assert first.position
        await api.call("CreateZone", name="after")
        assert (await anext(stream)).event.data["name"] == "after"
        await stream.aclose()

    in_cloud(tmp_path, body)


def test_the_position_of_an_answer_is_where_its_events_end(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.call("CreateZone", name="a")
        at = api.position
        await api.call("CreateZone", name="b")
        assert [e.data["name"] for e in await take(api, 1, from_position=at)] == ["b"]

    in_cloud(tmp_path, body)


def test_filters(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zones = [(await api.call("CreateZone", name=f"z{n}")).inventory.uuid for n in range(3)]
        await api.call("CreateCluster", name="c", zone_uuid=zones[0])
        for n in range(3):
            await api.call("UpdateZone", uuid=zones[n], name=f"y{n}")
        of_one = await take(api, 2, resource_uuids=[zones[1]])
        assert [(e.type, e.resource_uuid) for e in of_one] == [("zone.Created", zones[1]), ("zone.Updated", zones[1])]
        assert [e.type for e in await take(api, 1, resource_kinds=["cluster"])] == ["cluster.Created"]
        updates = await take(api, 2, types=["zone.Updated"], resource_uuids=zones[1:])
        assert [e.resource_uuid for e in updates] == zones[1:]

    in_cloud(tmp_path, body)


def test_bookmarks_tell_where_to_resume_when_nothing_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 0.05)

    async def body(api: Api) -> None:
        await api.call("CreateZone", name="z")
        stream = api.stream("WatchEvents", types=["no.Such"])
        positions = {(await anext(stream)).position for _ in range(4)}
        await stream.aclose()
        assert position.encode(api.node.recorder.head()) in positions

    in_cloud(tmp_path, body)


WRONG = ["x", "p1.1", position.encode(1) + "!", "cDEuLTE", "cDEuOTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "cDIuMQ", "ä"]


@pytest.mark.parametrize("text", WRONG)
def test_a_position_that_was_never_given_out_is_refused(tmp_path: Path, text: str) -> None:
    async def body(api: Api) -> None:
        with pytest.raises(ApiError) as refused:
            await take(api, 1, from_position=text)
        assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", ["from_position"])
        with pytest.raises(ApiError) as refused:
            await api.call("GetHistory", resource_uuid="1" * 32, page_token=text)
        assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", ["page_token"])

    in_cloud(tmp_path, body)


def test_wrong_filters_are_refused_by_name(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        with pytest.raises(ApiError) as refused:
            await take(api, 1, resource_uuids=["1" * 32, "x"])
        assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", ["resource_uuids[1]"])

    in_cloud(tmp_path, body)


def test_history_in_pages_also_of_what_is_gone(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory.uuid
        for n in range(5):
            await api.call("UpdateZone", uuid=zone, name=f"z{n}")
        await api.done("DeleteZone", uuid=zone)
        types: list[str] = []
        token = ""
        while True:
            page = await api.call("GetHistory", resource_uuid=zone, page_size=3, page_token=token)
            types += [e.type for e in page.events]
            token = page.next_page_token
            if not token:
                break
        assert types[:6] == ["zone.Created"] + ["zone.Updated"] * 5
        assert types[-1] in ("zone.Removed", "resource_jobs.Left")
        assert "zone.Removed" in types
        with pytest.raises(ApiError) as refused:
            await api.call("GetHistory", resource_uuid="f" * 32)
        assert refused.value.code == "NOT_FOUND"

    in_cloud(tmp_path, body)


def test_many_watchers_and_those_who_leave(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        head = api.node.recorder.head()
        staying = [asyncio.create_task(take(api, head + 10)) for _ in range(20)]
        leaving = [asyncio.create_task(take(api, 10_000)) for _ in range(20)]
        await asyncio.sleep(0.1)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*(api.call("CreateZone", name=f"z{n}") for n in range(10)))
        found = await asyncio.gather(*staying)
        assert all([e.position for e in events] == [e.position for e in found[0]] for events in found)
        await asyncio.gather(*leaving, return_exceptions=True)
        async with asyncio.timeout(60):
            while api.node.growth._watchers:  # noqa: ASYNC110 - who leaves tells nobody
                await asyncio.sleep(0.02)

    in_cloud(tmp_path, body)
