"""The log of calls over a socket: every call, accepted or refused, reads and logins (LOG-01..08)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Api, ApiError, running_node, until
from zcloud.api import position


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(go())


async def calls(api: Api, filter: str = "", **asked: Any) -> list[Any]:
    return list((await api.call("QueryOperationLog", filter=filter, **asked)).inventories)


def test_what_was_done_by_whom_from_where_and_what_it_wrote(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        meta = {"zcloud-reason": "a first room", "zcloud-request": "r-1"}
        zone = (await api.call("CreateZone", meta, name="z")).inventory.uuid
        at = api.position
        (made,) = await calls(api, "name = CreateZone")
        assert (made.success, made.code, made.error, made.account_name) == (True, "OK", "", "admin")
        assert made.source.startswith("127.0.0.1:")
        assert made.client.startswith("grpc-python")
        assert (made.reason, made.request_id) == ("a first room", "r-1")
        assert (made.resource_kind, made.resource_uuid, made.events) == ("zone", zone, 1)
        assert (made.first_position, made.last_position) == (at, at)
        assert json.loads(made.request) == {"name": "z"}
        assert made.finish_date.ToMicroseconds() - made.create_date.ToMicroseconds() == made.duration.ToMicroseconds()
        (record,) = api.node.recorder.read_positions([position.decode(at, "")])
        assert record.causation_id == made.uuid
        deleted = await api.done("DeleteZone", uuid=zone)
        (call,) = await calls(api, f"resource_uuid = {zone} AND name = DeleteZone")
        assert call.job_uuid == deleted.job_uuid
        assert (call.events > 0) is True
        # nothing was changed, so nothing was written
        offering = (await api.call("CreateInstanceOffering", name="o", cpu_num=1, memory_size=1 << 30)).inventory.uuid
        await api.call("UpdateInstanceOffering", uuid=offering, name="o")
        await api.call("UpdateInstanceOffering", {"zcloud-validate-only": "1"}, uuid=offering, name="p")
        same, tried = await calls(api, "name = UpdateInstanceOffering", order_by="create_date")
        assert (same.events, tried.events, tried.validate_only) == (0, 0, True)

    in_cloud(tmp_path, body)


def test_refusals_reads_logins_and_streams(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for rpc, fields in (("GetZone", {"uuid": "f" * 32}), ("CreateZone", {}), ("QueryZone", {"filter": "x = 1"})):
            with pytest.raises(ApiError):
                await api.call(rpc, **fields)
        with pytest.raises(ApiError):
            await api.send("CreateZone", b"\xff\xff")
        with pytest.raises(ApiError):
            await api.call("LogInByAccount", account_name="mallory", password="hunter2hunter2")
        with pytest.raises(ApiError):
            await Api(api.node, api.channel, "stale").call("QueryZone")
        await anext(stream := api.stream("WatchEvents"))
        await stream.aclose()
        refused = await calls(api, "success = false", order_by="create_date")
        told = [(c.name, c.code, c.error_reason) for c in refused if c.name != "WatchEvents"]
        assert told == [
            ("GetZone", "NOT_FOUND", "RESOURCE_NOT_FOUND"),
            ("CreateZone", "INVALID_ARGUMENT", "INVALID_FIELD"),
            ("QueryZone", "INVALID_ARGUMENT", "INVALID_FILTER"),
            ("CreateZone", "INVALID_ARGUMENT", "INVALID_FIELD"),
            ("LogInByAccount", "UNAUTHENTICATED", "WRONG_CREDENTIALS"),
            ("QueryZone", "UNAUTHENTICATED", "NOT_LOGGED_IN"),
        ]
        assert "name is required" in refused[1].error
        (login,) = [c for c in refused if c.name == "LogInByAccount"]
        assert login.account_name == "mallory"
        assert json.loads(login.request) == {"account_name": "mallory", "password": "***"}
        assert await until(lambda: calls(api, "name = WatchEvents"))
        (admin,) = await calls(api, "name = LogInByAccount AND success = true")
        assert (admin.account_name, bool(admin.session_uuid), admin.events) == ("admin", True, 1)
        assert await calls(api, f"session_uuid = {admin.session_uuid} AND name = GetZone")

    in_cloud(tmp_path, body)


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        _, normal = await api.account("normal", "correct horse battery")
        await calls(normal)
        for name in ("calls.db", "calls.db-wal"):
            data = (tmp_path / name).read_bytes()
            assert b"correct horse" not in data
            assert normal.token.encode() not in data

    in_cloud(tmp_path, body)
