"""What only a store that others share can do to a node: move its times, and go away under it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.kernel.store.appends import change
from tests.support.cloud import Api, ApiError, running_node, until
from tests.support.postgres import PostgresCluster
from zcloud.kernel.record import Append
from zcloud.kernel.store.postgres import PostgresRecorder

HOUR = 3_600_000_000


def test_an_answer_bears_the_time_of_the_log(postgres: PostgresCluster, tmp_path: Path) -> None:
    """Another node's clock goes an hour ahead: what this one decides is written later than it thought."""
    address = postgres.database()

    async def run() -> None:
        async with running_node(tmp_path, address) as api:
            node = api.node
            other = PostgresRecorder(address)
            ahead = time.time_ns() // 1000 + HOUR
            first = (await api.call("CreateZone", name="first")).inventory.uuid
            (created,) = node.recorder.read_stream(first)

            def elsewhere(uuid: str, moment: int) -> None:
                there = dataclasses.replace(created, originator_id=uuid, resource_uuid=uuid, time=moment)
                assert isinstance(other.append_batch([Append([there], {uuid: 0})])[0], list)

            elsewhere("e" * 32, ahead)
            key = {"zcloud-request": "moved"}
            made = await api.call("CreateZone", key, name="one")
            assert made.inventory.create_date.ToMicroseconds() > ahead
            assert (await api.call("GetZone", uuid=made.inventory.uuid)).inventory == made.inventory
            assert await api.call("CreateZone", key, name="one") == made
            elsewhere("f" * 32, ahead + HOUR)
            renamed = (await api.call("UpdateZone", uuid=made.inventory.uuid, name="two")).inventory
            assert renamed.last_op_date.ToMicroseconds() > ahead + HOUR
            assert renamed.create_date == made.inventory.create_date
            assert (await api.call("GetZone", uuid=made.inventory.uuid)).inventory == renamed
            # What the node keeps in memory is what the log says.
            cached = {**vars(await node.cloud.load(made.inventory.uuid))}
            cached.pop("now", None)  # of the unit that decided
            node.cloud._cache.clear()
            assert vars(await node.cloud.load(made.inventory.uuid)) == cached
            other.close()

    asyncio.run(run())


def test_a_cache_that_another_node_made_old_costs_a_second_try_only(postgres: PostgresCluster, tmp_path: Path) -> None:
    address = postgres.database()

    async def run() -> None:
        async with running_node(tmp_path / "a", address) as a:
            uuid = (await a.call("CreateZone", name="one")).inventory.uuid
            (created,) = a.node.recorder.read_stream(uuid)
            other = PostgresRecorder(address)
            renamed = change(uuid, 1, topic="zone.Updated")
            renamed.records[0].__dict__.update(state=b'{"name":"two"}', kind="zone", owner_uuid=created.owner_uuid)
            assert isinstance(other.append_batch([renamed])[0], list)
            other.close()
            changed = (await a.call("UpdateZone", uuid=uuid, description="three")).inventory
            assert (changed.name, changed.description, changed.version) == ("two", "three", 3)
            assert (await a.call("GetZone", uuid=uuid)).inventory == changed

    asyncio.run(run())


async def insist(api: Api, key: str, **fields: Any) -> tuple[Any, int]:
    """As a client does that was told to try again; the answer, and how often that was."""
    for refused in range(1000):
        try:
            return await api.call("CreateZone", {"zcloud-request": key}, **fields), refused
        except ApiError as error:
            if (error.code, error.reason) != ("UNAVAILABLE", "STORE_UNAVAILABLE"):
                raise
            await asyncio.sleep(0.1)
    raise AssertionError("the store does not come back")


def test_a_database_that_is_killed_loses_and_doubles_nothing(postgres: PostgresCluster, tmp_path: Path) -> None:
    address = postgres.database()

    async def run() -> None:
        async with running_node(tmp_path, address) as api:
            began = asyncio.gather(*(insist(api, f"key-{n}", name=f"zone {n}") for n in range(300)))

            async def under_way() -> bool:
                return api.node.cloud.log.head > 30

            await until(under_way)
            await asyncio.to_thread(postgres.kill)
            try:
                query = asyncio.gather(*(api.call("QueryZone") for _ in range(3)), return_exceptions=True)
                await asyncio.sleep(1.5)
            finally:
                await asyncio.to_thread(postgres.start)
            answers = [answer.inventory for answer, _ in await began]
            assert all(
                isinstance(q, ApiError) and q.code == "UNAVAILABLE" for q in await query if isinstance(q, Exception)
            )
            found = (await api.call("QueryZone", page_size=1000)).inventories
            assert {z.uuid: z for z in found} == {z.uuid: z for z in answers}
            assert len(found) == 300
            for n in (0, 150, 299):
                assert (await insist(api, f"key-{n}", name=f"zone {n}"))[0].inventory == answers[n]
            records = api.node.recorder.read_all(0, 10_000)
            assert [r.position for r in records] == list(range(1, len(records) + 1))
            assert len([r for r in records if r.topic == "zone.Created"]) == 300

    asyncio.run(run())


@pytest.mark.parametrize("apart", [True, False])
def test_read_models_that_lost_a_moment_are_filled_again(
    postgres: PostgresCluster, tmp_path: Path, apart: bool
) -> None:
    """A database that crashes may lose the last rows, never events: no query is answered without them (ARC-05)."""
    address = postgres.database()

    async def run() -> None:
        async with running_node(tmp_path, address, follow_apart=apart) as api:
            await api.call("CreateZone", name="kept")
            before = api.node.cloud.log.head
            assert len((await api.call("QueryZone")).inventories) == 1
            await api.call("CreateZone", name="lost")
            assert len((await api.call("QueryZone")).inventories) == 2
            with psycopg.connect(address, autocommit=True) as other:
                other.execute("SET search_path = zcloud_views")
                with other.transaction():
                    other.execute("UPDATE projection SET position = %s", (before,))
                    other.execute("DELETE FROM event_index WHERE position > %s", (before,))
                    other.execute("DELETE FROM zone WHERE name = 'lost'")
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            assert len((await api.call("QueryZone")).inventories) == 2

    asyncio.run(run())
