"""Fifty thousand random filters on every commit: SQL finds what plain Python finds (ARC-14)."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select

from projections.engine import open_engine
from projections.query.query import condition as sql_condition
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from tests.projections.query.conditions import PATHS, ConditionMaker
from tests.projections.query.evaluate import Sight, satisfies
from tests.projections.query.test_against_plain_python import _terms
from tests.projections.world import ADMIN, ALICE, BOB, World, fresh_models, make_world, memory
from tests.support.postgres import PostgresCluster
from zcloud.kernel.memory import settle

FILTERS, PER_WORLD = 50_000, 5_000
ON_POSTGRESQL = 1_000
OPERATORS = {"=", "!=", "<", "<=", ">", ">=", ":"}
# Long ones cost more than they find; others are tried beside.
DEPTHS = (0, 0, 0, 0, 1, 1, 1, 2)


@dataclass
class Found:
    """telling: filters that tell resources apart, with an answer that is neither empty nor everything."""

    filters: int = 0
    telling: int = 0
    used: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.filters += other.filters
        self.telling += other.telling
        self.used += other.used
        self.wrong += other.wrong

    def hold(self, filters: int) -> None:
        assert not self.wrong, f"{len(self.wrong)} of {self.filters}, the first: {self.wrong[0]}"
        assert self.filters == filters
        assert set(self.used) == OPERATORS
        assert min(self.used.values()) > filters / 100
        assert self.telling >= filters / 3


def compare(connection: Connection, models: ReadModels, world: World, seed: int, filters: int) -> Found:
    maker, chance, found = ConditionMaker(seed, world), random.Random(seed), Found(filters)
    sights = {account: Sight(world, account, account == ADMIN) for account in (ADMIN, ALICE, BOB)}
    kinds = list(PATHS)
    for _ in range(filters):
        kind, account = chance.choice(kinds), chance.choice([ADMIN, ADMIN, ADMIN, ALICE, BOB])
        made = maker.condition(kind, chance.choice(DEPTHS))
        text, sight = maker.write(made, kind), sights[account]
        wanted = {m.uuid for m in world.resources[kind] if sight.sees(kind, m) and satisfies(sight, kind, m, made)}
        table = models[kind].table
        where = sql_condition(models[kind], models, text, Viewer(account, sight.admin))
        answered = set(connection.execute(select(table.c.uuid).where(where)).scalars())
        found.used.update(term.operator for term in _terms(made))
        found.telling += 0 < len(wanted) < len(world.resources[kind])
        if answered != wanted:
            found.wrong.append(f"world {seed}, {kind} as {account[0]}: {text}")
    return found


def one_world(seed: int) -> Found:
    world, models = make_world(seed), ReadModels.of_api()
    settle()
    with memory() as connection:
        world.store(connection, models)
        return compare(connection, models, world, seed, PER_WORLD)


def test_fifty_thousand_filters() -> None:
    found = Found()
    # Forked processes would share the locks of this one's threads.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(one_world, range(100, 100 + FILTERS // PER_WORLD)):
            found.add(part)
    found.hold(FILTERS)


def test_filters_on_postgresql(tmp_path: Path, postgres: PostgresCluster) -> None:
    engine, world, models = open_engine(tmp_path, postgres.database()), make_world(9, larger=2), fresh_models()
    try:
        with engine.begin() as connection:
            world.store(connection, models)
            compare(connection, models, world, 9, ON_POSTGRESQL).hold(ON_POSTGRESQL)
    finally:
        engine.dispose()
