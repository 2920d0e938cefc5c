"""The log of calls on each store: kept, asked, bounded; of several nodes one log (LOG-02..07, MN-02)."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvloop
from sqlalchemy import func, inspect, select

from projections.call_log import CallLog
from tests.api.stores.conftest import Cloud
from tests.api.stores.test_nodes import two
from tests.support.cloud import Api, ApiError, running_node, until
from tests.support.postgres import PostgresCluster
from zcloud.api import call_writer
from zcloud.api.call_record import Told
from zcloud.v1.operation_log_pb2 import OperationLog


async def calls(api: Api, filter: str = "", **asked: Any) -> list[Any]:
    return list((await api.call("QueryOperationLog", filter=filter, **asked)).inventories)


def kept(log: CallLog) -> int:
    return int(log.read(lambda asked: asked.execute(select(func.count()).select_from(log.model.table)).scalar_one()))


async def pages(api: Api, filter: str, size: int) -> list[Any]:
    seen: list[Any] = []
    token = ""
    while True:
        page = await api.call("QueryOperationLog", filter=filter, page_size=size, page_token=token, count=True)
        seen += page.inventories
        token = page.next_page_token
        if not token:
            assert page.total == len(seen)
            return seen


async def exported(api: Api, **asked: Any) -> list[dict[str, str]]:
    text = "".join([a.csv async for a in api.stream("ExportOperationLog", **asked)])
    return list(csv.DictReader(text.splitlines()))


def test_pages_and_csv_tell_the_same(cloud: Cloud) -> None:
    """LOG-02, LOG-04, LOG-06"""

    async def go() -> None:
        async with cloud() as api:
            for n in range(25):
                await api.call("CreateZone", name=f"z,{n}")
            await api.call("CreateZone", {"zcloud-reason": "=1+1"}, name='say "hi"')
            seen = await pages(api, "name = CreateZone", 10)
            assert {c.management_node_name for c in seen} == {api.node.cluster.name}
            rows = await exported(api, filter="name = CreateZone")
            assert len(rows) == 26
            assert [row["uuid"] for row in rows] == [c.uuid for c in seen]
            assert [row["request"] for row in rows] == [c.request for c in seen]
            assert rows[0]["reason"] == "'=1+1"
            with pytest.raises(ApiError, match="nme") as refused:
                await exported(api, filter="nme = CreateZone")
            assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_FILTER")
            bob, as_bob = await api.account("bob")
            await as_bob.call("QueryVmInstance")
            own = await calls(as_bob)
            assert {c.account_uuid for c in own} == {bob}
            assert {"QueryVmInstance", "LogInByAccount"} <= {c.name for c in own}

    asyncio.run(go())


def test_it_outlives_a_restart_and_is_bounded(cloud: Cloud) -> None:
    """LOG-07"""

    async def go() -> None:
        async with cloud() as api:
            await api.call("CreateZone", name="kept")
        async with cloud() as api:
            assert await calls(api, "name = CreateZone")
            assert await api.node.calls.remove_old() == 0
            log = api.node.calls.log
            total = len(await calls(api, page_size=1000))
            assert log.remove(0, 1) >= total - 1
            assert not await calls(api, "name = CreateZone")
            await api.call("CreateZone", name="again")
            assert await calls(api, "name = CreateZone")  # it is in the log
            now = api.node.cloud.clock.now()
            api.node.cloud.clock.now = lambda: now + 181 * 86_400 * 1_000_000
            assert await api.node.calls.remove_old() > 0
            api.node.cloud.clock.now = lambda: now
            (said,) = await calls(api, "name = RemoveOldOperationLogs")
            assert json.loads(said.request)["removed"] > 0
            assert not await calls(api, "name = CreateZone")

    asyncio.run(go())


def test_it_stays_below_a_size(cloud: Cloud) -> None:
    """LOG-07"""

    async def go() -> None:
        async with cloud() as api:
            for n in range(60):
                text = random.Random(n).randbytes(1000).hex()  # which no store makes smaller than half
                await api.call("CreateZone", name=f"z{n}", description=text)
            await calls(api)
            assert await api.node.calls.remove_old() == 0
            await api.call("UpdateGlobalConfig", category="operationLog", name="retention.size", value="200K")
            assert await api.node.calls.remove_old() > 10
            left = await calls(api, "name = CreateZone", page_size=100)
            assert 0 < len(left) < 60
            assert '"z59"' in left[0].request  # the newest stay
            # The room that they left behind is not taken for theirs.
            assert await api.node.calls.remove_old() < len(left) / 2
            assert '"size": 204800' in (await calls(api, "name = RemoveOldOperationLogs"))[-1].request

    asyncio.run(go())


def test_any_node_tells_of_the_calls_of_all(postgres: PostgresCluster, tmp_path: Path) -> None:
    """Also of those of a node that is gone, with its disk."""
    address = postgres.database()

    async def go() -> None:
        async with two(tmp_path, address) as (a, b):
            names = a.node.cluster.name, b.node.cluster.name
            for n in range(10):
                await (a, b)[n % 2].call("CreateZone", name=f"z{n}")
            for api in (a, b):
                await api.node.calls.flush()
            for api in (a, b):
                told = await calls(api, "name = CreateZone", order_by="create_date")
                assert [c.management_node_name for c in told] == [names[n % 2] for n in range(10)]
                assert [json.loads(c.request)["name"] for c in told] == [f"z{n}" for n in range(10)]
                assert len(await calls(api, f'name = CreateZone AND management_node_name = "{names[0]}"')) == 5
            assert await pages(a, "name = CreateZone", 3) == await pages(b, "name = CreateZone", 3)
            assert await exported(a, filter="name = CreateZone") == await exported(b, filter="name = CreateZone")
            # What one took is seen by the other without being asked for.
            zone = (await a.call("CreateZone", name="late")).inventory.uuid
            (late,) = await until(lambda: calls(b, f"resource_uuid = {zone} AND name = CreateZone"))
            about = await calls(b, about_uuid=zone, filter="reads = false")
            assert [c.uuid for c in about if c.name == "CreateZone"] == [late.uuid]
            # One of them removes what is old; the records and size are those of all.
            now = a.node.cloud.clock.now()
            for api in (a, b):
                api.node.cloud.clock.now = lambda: now + 181 * 86_400 * 1_000_000
            removed = [await api.node.calls.remove_old() for api in (a, b)]
            assert sorted(map(bool, removed)) == [False, True]
            for api in (a, b):
                api.node.cloud.clock.now = lambda: now
            assert not await calls(b, "name = CreateZone")
            await a.call("CreateZone", name="last words")
        assert not any((tmp_path / name / "calls.db").exists() for name in "ab")
        async with running_node(tmp_path / "b", address) as b:
            (last,) = await calls(b, "name = CreateZone")
            assert last.management_node_name == names[0]

    asyncio.run(go())


def test_calls_of_earlier_versions_are_taken_over(postgres: PostgresCluster, tmp_path: Path) -> None:
    """Those of a node that kept them in its directory, in tables that lacked a column and an index and had one more."""
    directory = tmp_path / "data"
    directory.mkdir()
    mine = CallLog(directory, OperationLog)
    mine.prepare()
    old = [OperationLog(uuid=f"{n:032x}", name="CreateZone", account_uuid="a" * 32) for n in range(1001)]
    mine.write((message, "a" * 32) for message in old)
    mine.close()
    with sqlite3.connect(directory / "calls.db") as file:
        file.execute("ALTER TABLE operation_log DROP COLUMN management_node_name")
        file.execute("CREATE INDEX ix_operation_log_by_name ON operation_log (name, uuid)")
        file.execute("DROP INDEX ix_operation_log_job_uuid")
    file.close()
    # On SQLite it goes on in the same file.
    mine.prepare()
    with mine.engine.connect() as connection:
        assert {i["name"] for i in inspect(connection).get_indexes("operation_log")} == {
            i.name for i in mine.model.table.indexes
        }
    mine.write([(OperationLog(uuid="f" * 32, name="GetZone", management_node_name="mn-0"), "")])
    mine.close()

    async def go() -> None:
        async with running_node(directory, postgres.database(), name="mn-1") as api:
            assert len(await exported(api, filter='name = CreateZone AND management_node_name = "mn-1"')) == 1001
            (other,) = await calls(api, f"uuid = {'f' * 32}")
            assert (other.name, other.management_node_name) == ("GetZone", "mn-0")
            assert [name for name in os.listdir(directory) if name.startswith("calls")] == ["calls-taken.db"]

    asyncio.run(go())


def test_while_the_store_is_away_a_bounded_number_waits(
    postgres: PostgresCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is more is counted; nothing that waited is lost, by the process that writes as it runs."""
    monkeypatch.setattr(call_writer, "WAITING", 5)
    address = postgres.database()
    log = CallLog(tmp_path, OperationLog, address)
    log.prepare()

    def reachable(yes: bool) -> None:
        name = address.rpartition("/")[2]
        with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}".encode())
            if not yes:
                ended = b"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(ended, (name,))

    async def go() -> None:
        writer = call_writer.ProcessWriter(tmp_path, address, "mn-1")
        await writer.start()

        def add(first: int, number: int) -> None:
            for n in range(first, first + number):
                writer.add(Told("GetZone", f"{n:032x}", n, n + 1, "", "", "OK"))

        add(0, 3)
        await writer.flush()
        assert kept(log) == 3
        reachable(False)
        add(3, 4)
        await writer.flush()  # does not wait for the store to be back
        add(7, 3)
        assert writer.lost == 2
        reachable(True)

        async def all_there() -> bool:
            await writer.flush()
            return kept(log) == 8

        await until(all_there)
        assert writer.lost == 2
        await writer.close()

    asyncio.run(go())
    log.close()


def test_a_writer_that_died_is_started_again_and_gets_its_calls(tmp_path: Path) -> None:
    """However it died, in the loop that nodes run in: before the first call, with one on the way, or again at once."""
    log = CallLog(tmp_path, OperationLog)
    log.prepare()

    async def go() -> None:
        writer = call_writer.ProcessWriter(tmp_path, "", "mn-1")
        await writer.start()
        dead = 2
        begin = writer._begin

        async def begun() -> asyncio.subprocess.Process:
            nonlocal dead
            worker = await begin()
            if dead:
                dead -= 1
                worker.kill()
                await worker.wait()
            return worker

        writer._begin = begun  # type: ignore[method-assign]

        async def all_there(number: int) -> bool:
            await writer.flush()
            return kept(log) == number

        for n in range(1, 4):
            writer.add(Told("GetZone", f"{n:032x}", n, n + 1, "", "", "OK"))
            await until(partial(all_there, n))
            assert writer._worker is not None
            writer._worker.kill()
            dead = n - 1
        assert writer.lost == 0
        await writer.close()

    uvloop.run(go())
    log.close()
