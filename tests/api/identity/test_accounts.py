"""Accounts and sessions over a socket (ACC-01, ACC-09)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.cloud import Api, ApiError, running_node
from zcloud.domain.identity.account import ADMIN_UUID


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(go())


async def code(call: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value.code, refused.value.reason


def test_life(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        uuid, account = await api.account("somebody", "first")
        made = (await api.call("GetAccount", uuid=uuid)).inventory
        assert (made.name, made.type, made.account_uuid) == ("somebody", made.TYPE_NORMAL, uuid)
        assert await code(api.call("CreateAccount", name="SomeBody", password="x")) == ("ALREADY_EXISTS", "NAME_TAKEN")
        await account.call("UpdateAccount", uuid=uuid, name="anybody", description="d", password="second")
        for name, password in (("somebody", "second"), ("anybody", "first")):
            assert (await code(api.logged_in(name, password)))[0] == "UNAUTHENTICATED"
        await api.logged_in("anybody", "second")
        await account.call("QueryAccount")  # the session that it had lives on
        await api.account("somebody")  # the old name is free again
        found = (await api.call("QueryAccount", filter="type = Normal", order_by="name")).inventories
        assert [a.name for a in found] == ["anybody", "somebody"]
        await api.done("DeleteAccount", uuid=uuid)
        assert await code(api.logged_in("anybody", "second")) == ("UNAUTHENTICATED", "WRONG_CREDENTIALS")
        await api.account("anybody")

    in_cloud(tmp_path, body)


def test_the_admin_stays(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        assert await code(api.call("DeleteAccount", uuid=ADMIN_UUID)) == ("FAILED_PRECONDITION", "STILL_IN_USE")
        await api.call("QueryZone")

    in_cloud(tmp_path, body)


def test_of_two_that_take_one_name_one_gets_it(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        calls = [api.call("CreateAccount", name="wanted", password=f"p{n}") for n in range(4)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        refused = [f for f in found if isinstance(f, ApiError)]
        assert {(r.code, r.reason) for r in refused} == {("ALREADY_EXISTS", "NAME_TAKEN")}
        assert len(refused) == 3

    in_cloud(tmp_path, body)


def test_sessions(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        _, account = await api.account("somebody")
        session = (await account.call("QuerySession")).inventories[0]
        assert session.token == ""
        assert session.account_name == "somebody"
        renewed = (await account.call("RenewSession")).inventory
        assert renewed.expired_date.ToMicroseconds() > session.expired_date.ToMicroseconds()
        await account.call("LogOut")
        assert await code(account.call("RenewSession")) == ("UNAUTHENTICATED", "NOT_LOGGED_IN")
        found = await api.call("QuerySession", filter=f'uuid = "{session.uuid}"')
        assert not found.inventories

    in_cloud(tmp_path, body)


def test_a_session_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(api: Api) -> None:
        _, account = await api.account("somebody")
        now = api.node.cloud.clock.now()
        hours = {"gone": 0}
        api.node.cloud.clock.now = lambda: now + hours["gone"] * 3_600_000_000  # type: ignore[method-assign]
        hours["gone"] = 1
        await account.call("RenewSession")
        hours["gone"] = 2
        await account.call("QueryImage")
        hours["gone"] = 4
        assert await code(account.call("QueryImage")) == ("UNAUTHENTICATED", "NOT_LOGGED_IN")

    in_cloud(tmp_path, body)


def test_sharing(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        uuid, account = await api.account("somebody")
        offering = (await api.call("CreateInstanceOffering", name="o", cpu_num=1, memory_size=1 << 30)).inventory.uuid
        assert (await code(account.call("GetInstanceOffering", uuid=offering)))[0] == "NOT_FOUND"
        shared = await api.call("ShareResource", resource_uuids=[offering], account_uuids=[uuid])
        assert [(s.resource_kind, list(s.account_uuids)) for s in shared.inventories] == [("instance_offering", [uuid])]
        assert (await account.call("QueryInstanceOffering", count=True)).total == 1
        await api.call("RevokeResourceSharing", resource_uuids=[offering])
        assert (await account.call("QueryInstanceOffering", count=True)).total == 0
        missing = api.call("ShareResource", resource_uuids=[offering, "f" * 32], account_uuids=[uuid])
        assert (await code(missing))[0] == "NOT_FOUND"
        assert (await account.call("QueryInstanceOffering", count=True)).total == 0  # all of it or nothing

    in_cloud(tmp_path, body)
