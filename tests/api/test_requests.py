"""Request ids: the same call twice is done once, also at the same time, after a restart and after a crash."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Api, ApiError, ServerProcess, running_node, running_server

ONCE = {"zcloud-request": "request-1"}


def in_cloud(directory: Path, body: Any) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(go())


def test_the_same_call_gets_the_same_answer_and_is_done_once(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        first = await api.call("CreateZone", ONCE, name="z")
        position = api.position
        await api.call("UpdateZone", uuid=first.inventory.uuid, name="renamed")
        again = await api.call("CreateZone", ONCE, name="z")
        assert (again, api.position) == (first, position)
        assert (await api.call("QueryZone", count=True)).total == 1

    in_cloud(tmp_path, body)


def test_another_body_or_another_rpc_is_refused(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        made = await api.call("CreateZone", ONCE, name="z")
        for rpc, fields in (("CreateZone", {"name": "y"}), ("DeleteZone", {"uuid": made.inventory.uuid})):
            with pytest.raises(ApiError) as refused:
                await api.call(rpc, ONCE, **fields)
            assert (refused.value.code, refused.value.reason) == ("ALREADY_EXISTS", "REQUEST_REUSED")
            assert refused.value.facts["request_id"] == "request-1"
        assert (await api.call("QueryZone", count=True)).total == 1

    in_cloud(tmp_path, body)


def test_ids_are_each_accounts_own(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        uuid, account = await api.account("other")
        await api.call("UpdateAccount", ONCE, uuid=uuid, description="by the admin")
        await account.call("UpdateAccount", ONCE, uuid=uuid, description="by itself")
        assert (await api.call("GetAccount", uuid=uuid)).inventory.description == "by itself"

    in_cloud(tmp_path, body)


@pytest.mark.parametrize("chosen", [{}, {"resource_uuid": "1" * 32}])
def test_two_at_the_same_time_do_the_work_once(tmp_path: Path, chosen: dict[str, str]) -> None:
    async def body(api: Api) -> None:
        calls = [api.call("CreateZone", ONCE, name="z", **chosen) for _ in range(10)]
        answers = await asyncio.gather(*calls)
        assert all(answer == answers[0] for answer in answers)
        assert (await api.call("QueryZone", count=True)).total == 1
        assert api.node.requests == {}

    in_cloud(tmp_path, body)


def test_a_refusal_is_not_remembered(tmp_path: Path) -> None:
    """What is wrong now may be right later; the id is used up by the call that changes something."""

    async def body(api: Api) -> None:
        fields = {"name": "c", "zone_uuid": "1" * 32}
        with pytest.raises(ApiError):
            await api.call("CreateCluster", ONCE, **fields)
        await api.call("CreateZone", name="z", resource_uuid="1" * 32)
        await api.call("CreateCluster", ONCE, **fields)

    in_cloud(tmp_path, body)


def test_a_preview_uses_up_nothing(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        head = api.node.recorder.head()
        preview = await api.call("CreateZone", {**ONCE, "zcloud-validate-only": "true"}, name="z")
        assert [(e.type, e.resource_kind) for e in preview.plan.events] == [("zone.Created", "zone")]
        assert preview.plan.events[0].data["name"] == "z"
        assert api.node.recorder.head() == head
        assert not (await api.call("CreateZone", ONCE, name="another")).plan.events

    in_cloud(tmp_path, body)


def test_an_answer_with_a_secret_is_remembered_sealed(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        first = await api.call("IssueEnrollToken", ONCE)
        assert (await api.call("IssueEnrollToken", ONCE)).token == first.token
        admin = (await api.call("QueryAccount", filter="name = admin")).inventories[0].uuid
        kept = api.node.recorder.find_request(admin, "request-1")
        assert kept is not None
        assert first.token.encode() not in kept.response

    in_cloud(tmp_path, body)


def test_an_answer_outlives_the_server(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        first = server.admin.call("CreateZone", ONCE, name="z")
        server.kill()
        server.start()
        assert server.admin.call("CreateZone", ONCE, name="z") == first
        with pytest.raises(ApiError) as refused:
            server.admin.call("CreateZone", ONCE, name="y")
        assert refused.value.reason == "REQUEST_REUSED"


@pytest.mark.faults
@pytest.mark.parametrize(("place", "happened"), [("commit.before", False), ("commit.after", True)])
def test_a_server_that_dies_at_the_commit_is_asked_again(tmp_path: Path, place: str, happened: bool) -> None:
    """The caller can't know whether it happened; the retry makes it so, once."""
    server = ServerProcess(tmp_path / "data")
    try:
        server.start()
        server.stop()
        server.start(ZCLOUD_FAILPOINT=f"{place}:kill:2")  # the first commit is the login
        admin = server.admin
        with pytest.raises(ApiError) as lost:
            admin.call("CreateZone", ONCE, name="z", resource_uuid="1" * 32)
        assert lost.value.code == "UNAVAILABLE"
        assert server.ended() != 0
        server.start()
        admin = server.admin
        assert admin.call("QueryZone", count=True).total == int(happened)
        made = admin.call("CreateZone", ONCE, name="z", resource_uuid="1" * 32)
        assert made.inventory.uuid == "1" * 32
        assert admin.call("QueryZone", count=True).total == 1
        assert len(admin.call("GetHistory", resource_uuid="1" * 32).events) == 1
    finally:
        server.stop()


def test_a_version_that_moved_is_told(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory
        await api.call("UpdateZone", {"zcloud-if-version": "1"}, uuid=zone.uuid, name="y")
        with pytest.raises(ApiError) as refused:
            await api.call("UpdateZone", {"zcloud-if-version": "1"}, uuid=zone.uuid, name="x")
        assert (refused.value.code, refused.value.reason) == ("ABORTED", "VERSION_MOVED")
        assert refused.value.facts["version"] == "2"
        assert (await api.call("GetZone", uuid=zone.uuid)).inventory.name == "y"

    in_cloud(tmp_path, body)


def test_a_read_sees_every_command_that_was_answered(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        async def one(n: int) -> None:
            made = (await api.call("CreateZone", name=f"z{n}")).inventory
            found = (await api.call("QueryZone", filter=f'name = "z{n}"')).inventories
            assert [z.uuid for z in found] == [made.uuid]
            await api.call("DeleteZone", uuid=made.uuid)

        await asyncio.gather(*(one(n) for n in range(40)))

    in_cloud(tmp_path, body)


def test_the_reason_is_kept_as_it_was_said(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        made = await api.call("CreateZone", {"zcloud-reason": "weil%E2%80%99s%20geht"}, name="z")
        event = (await api.call("GetHistory", resource_uuid=made.inventory.uuid)).events[0]
        assert (event.reason, event.origin, event.actor.account_name) == ("weil’s geht", "CreateZone", "admin")
        assert event.actor.source.startswith("127.0.0.1:")
        assert event.correlation_id == event.causation_id != ""

    in_cloud(tmp_path, body)
