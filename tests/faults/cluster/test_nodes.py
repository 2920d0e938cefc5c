"""Nodes on one PostgreSQL are killed and paused by chance while VMs are made, used and deleted (ARC-14, MN-02)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.cluster.account import Account
from tests.faults.cluster.late import Late
from tests.faults.cluster.mutants import AGENTS, LATE, NODES
from tests.faults.cluster.nodes import cluster
from tests.faults.cluster.seed import SETTLED_SECONDS, Life
from tests.faults.harness.mutants import mutated
from tests.support.postgres import PostgresCluster

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]
NAMES = ("a", "b", "c")
# Clusters at once, and so many seeds each lives through.
SEEDS, AT_ONCE = 50, 2
EACH = SEEDS // AT_ONCE
# So long a mistake may leave something undone until that counts as found.
MUTANT_SECONDS = 15.0
LATE_SEEDS, LATE_MUTANT_SEEDS = 3, 12


async def lives(
    base: Path,
    store: str,
    seeds: range,
    settled: float = SETTLED_SECONDS,
    mutant: str = "",
    kind: type[Life] = Life,
) -> list[str]:
    """One cluster lives through all of these; ends at the first that finds something."""
    async with cluster(base, store, NAMES, mutant) as nodes:
        account = Account(nodes)
        try:
            for seed in seeds:
                if wrong := await kind(account, seed, settled).live():
                    account.tell(base / "log")
                    return [f"seed {seed}: {w}" for w in wrong]
            return await account.rows()
        finally:
            account.close()
            print(nodes.said())


def test_whatever_dies_or_stands_still(postgres: PostgresCluster, tmp_path: Path, seeds: int) -> None:
    """I1 to I9 after each seed; `make faults SEEDS=…` takes one for each hundred, and never less than 50.

    While nodes of one cluster stand still, those of the other have the machine.
    """

    async def part(begin: int) -> list[str]:
        base = tmp_path / str(begin)
        base.mkdir()
        found = await lives(base, postgres.database(), range(begin, begin + EACH))
        return [f"{base / 'log'}", *found] if found else []

    async def run() -> list[str]:
        found = []
        for begin in range(0, max(SEEDS, seeds // 100), SEEDS):
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(part(begin + n * EACH)) for n in range(AT_ONCE)]
            found += [told for of in parts for told in of.result()]
        return found

    found = asyncio.run(run())
    assert not found, "\n".join(found[:10])


def test_a_late_decision_is_not_written(postgres: PostgresCluster, tmp_path: Path) -> None:
    """I5: two nodes stand still one after the other between a decision and its writing, and go on too late."""
    found = asyncio.run(lives(tmp_path, postgres.database(), range(LATE_SEEDS), kind=Late))
    assert not found, f"{tmp_path / 'log'}\n" + "\n".join(found[:10])


async def mistaken(
    base: Path,
    postgres: PostgresCluster,
    told: str,
    seeds: int,
    mutant: str = "",
    kind: type[Life] = Life,
) -> None:
    """Among what is found must be what is told. What goes wrong besides, which ends a cluster, was not looked for:
    another cluster lives through the seeds that are left."""
    found: list[str] = []
    begin = 0
    while begin < seeds:
        directory = base / str(begin)
        directory.mkdir()
        try:
            new = await lives(directory, postgres.database(), range(begin, seeds), MUTANT_SECONDS, mutant, kind)
        except Exception as error:  # of nodes that make mistakes anything may come
            new = [f"seed {begin}: {error!r}"]
        found += new
        if any(f": {told}" in f for f in found):
            return
        begin = next((int(f.split()[1].rstrip(":")) for f in new if f.startswith("seed ")), seeds) + 1
    raise AssertionError(f"{told!r} is not among {found}")


@pytest.mark.parametrize("mutant", LATE)
def test_mistakes_with_leases_are_found(mutant: str, postgres: PostgresCluster, tmp_path: Path) -> None:
    told, _ = LATE[mutant]
    asyncio.run(mistaken(tmp_path, postgres, told, LATE_MUTANT_SEEDS, mutant, Late))


@pytest.mark.parametrize("mutant", NODES)
def test_mistakes_of_nodes_are_found(mutant: str, postgres: PostgresCluster, tmp_path: Path) -> None:
    told, _ = NODES[mutant]
    asyncio.run(mistaken(tmp_path, postgres, told, SEEDS, mutant))


@pytest.mark.parametrize("mutant", AGENTS)
def test_mistakes_of_agents_are_found(mutant: str, postgres: PostgresCluster, tmp_path: Path) -> None:
    told, patch = AGENTS[mutant]
    with mutated(patch):
        asyncio.run(mistaken(tmp_path, postgres, told, SEEDS))
