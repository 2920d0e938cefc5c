"""Two nodes in one process on one PostgreSQL: each sees at once what the other has answered (ARC-14, MN-02)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cloud import Api, ApiError, running_node, until
from tests.support.postgres import PostgresCluster
from zcloud.api.cluster import WrongKey
from zcloud.api.node import Node


@contextlib.asynccontextmanager
async def two(base: Path, store: str) -> AsyncIterator[tuple[Api, Api]]:
    """Once both have work."""
    async with running_node(base / "a", store) as a:
        (base / "b").mkdir()
        for name in ("vault.key", "admin-password"):
            shutil.copy(base / "a" / name, base / "b" / name)
        async with running_node(base / "b", store) as b:
            assert a.node.cloud.leases.together
            assert b.node.cloud.leases.together

            async def shared_out() -> bool:
                told = (await b.call("QueryManagementNode")).inventories
                return all(node.partitions for node in told)

            await until(shared_out)
            yield a, b


def test_what_one_has_answered_the_other_knows(postgres: PostgresCluster, tmp_path: Path) -> None:
    address = postgres.database()

    async def run() -> None:
        async with two(tmp_path, address) as (a, b):
            for n in range(20):
                one, other = (a, b) if n % 2 else (b, a)
                key = {"zcloud-request": f"key-{n}"}
                zone = (await one.call("CreateZone", key, name=f"zone-{n}")).inventory
                assert (await other.call("GetZone", uuid=zone.uuid)).inventory == zone
                assert len((await other.call("QueryZone")).inventories) == n + 1
                assert (await other.call("CreateZone", key, name=f"zone-{n}")).inventory == zone
                # What it had in memory of the zone is old; neither a change nor a refusal rests on it.
                await one.call("ChangeZoneState", uuid=zone.uuid, state_event="disable")
                assert (await other.call("GetZone", uuid=zone.uuid)).inventory.version == 2
                await other.call("UpdateZone", uuid=zone.uuid, name="renamed")
                with pytest.raises(ApiError) as refused:
                    await one.call("CreateZone", key, name="another")
                assert refused.value.reason == "REQUEST_REUSED"
            # Ten jobs, of which each node drives those of its partitions; waited for at the other door.
            zones = (await a.call("QueryZone")).inventories
            jobs = [(await (a, b)[n % 2].call("DeleteZone", uuid=zone.uuid)).job_uuid for n, zone in enumerate(zones)]
            ended = await asyncio.gather(*((b, a)[n % 2].wait(job) for n, job in enumerate(jobs)))
            assert {job.state for job in ended} == {ended[0].STATE_SUCCEEDED}
            assert not (await b.call("QueryZone")).inventories
            with pytest.raises(ApiError) as gone:
                await a.call("UpdateZone", uuid=zones[0].uuid, name="x")
            assert gone.value.code == "NOT_FOUND"
            nodes = (await b.call("QueryManagementNode")).inventories
            assert sorted(part for node in nodes for part in node.partitions) == list(range(64))
            assert sum(n.answers for n in nodes) == 1
            first = await b.call("QueryManagementNode", page_size=1)
            rest = await a.call("QueryManagementNode", page_size=1, page_token=first.next_page_token)
            assert [n.name for n in (*first.inventories, *rest.inventories)] == [n.name for n in nodes]
            assert (first.total, rest.next_page_token) == (2, "")
            assert a.node.authority.pem == b.node.authority.pem

    asyncio.run(run())


def test_a_node_without_the_clouds_key_does_not_start(postgres: PostgresCluster, tmp_path: Path) -> None:
    """A key of its own would seal secrets that no other node could open."""
    address = postgres.database()

    async def run() -> None:
        async with running_node(tmp_path / "a", address) as a:
            with pytest.raises(WrongKey, match=a.node.vault.key_id):
                Node(tmp_path / "b", store=address)
            assert not (tmp_path / "b" / "vault.key").exists()
            (tmp_path / "b" / "vault.key").write_bytes(b"k" * 32)
            with pytest.raises(WrongKey, match="is key"):
                Node(tmp_path / "b", store=address)

    asyncio.run(run())
