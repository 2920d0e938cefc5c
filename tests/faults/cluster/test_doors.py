"""Agents outlive every node that they were installed with, and are back when one comes back at its door (MN-02)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.cluster.nodes import Nodes, cluster
from tests.support.cloud import ApiError, until
from tests.support.postgres import PostgresCluster


async def has_agents(nodes: Nodes, name: str) -> None:
    """Wait until all hosts are Connected by way of this node."""

    async def look() -> bool:
        api = await nodes.at(name)
        try:
            here = next(n for n in (await api.call("QueryManagementNode")).inventories if n.answers)
            hosts = (await api.call("QueryHost", filter="status = Connected")).inventories
        except ApiError:  # it serves in a moment
            return False
        return bool(here.agents == len(hosts) == len(nodes.ground.hosts))

    await until(look)


@pytest.mark.timeout(0)
def test_agents_follow_their_cloud_from_door_to_door(postgres: PostgresCluster, tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster(tmp_path, postgres.database(), ("a", "b"), late=("b",)) as nodes:
            await has_agents(nodes, "a")
            nodes.bring_key("b")
            await nodes.up("b")
            # No session has ended since then: what agents know of it they are told while they are connected.
            await nodes.agents_know("b")
            nodes.kill("a")
            await has_agents(nodes, "b")
            await nodes.up("a")
            await nodes.shared_out()
            nodes.kill("b")
            await has_agents(nodes, "a")
            # And where there is no other door, at the same one.
            nodes.kill("a")
            await asyncio.sleep(1)
            await nodes.up("a")
            await has_agents(nodes, "a")

    asyncio.run(run())
