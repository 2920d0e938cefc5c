"""What was right at a position: rows that the follower kept are, at every position, what a fresh fold gives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from projections.engine import open_engine
from projections.past import Past
from projections.projector import Projector
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from projections.schema.tables import DOC, OWNER, PUBLIC
from projections.view import View, rows_of
from tests.api.compute.ground import ground
from tests.support.postgres import PostgresCluster
from zcloud.kernel.record import Record
from zcloud.kernel.store.sqlite import SqliteRecorder

ADMIN = Viewer("0" * 32, is_admin=True)
Row = tuple[str, bytes, str, int, tuple[str, ...]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteRecorder]:
    """The log of a small cloud in which machines, shares, owners and names came, changed and went."""
    directory = tmp_path_factory.mktemp("lived")

    async def live() -> None:
        async with ground(directory) as here:
            api = here.api
            bob, _ = await api.account("bob")
            vm = await here.create(name="one")
            await here.create(name="two")
            await api.call("UpdateVmInstance", uuid=vm.uuid, name="renamed")
            await api.call("ShareResource", resource_uuids=[here.image, here.l3], account_uuids=[bob])
            await api.done("StopVmInstance", uuid=vm.uuid)
            await api.call("RevokeResourceSharing", resource_uuids=[here.image], account_uuids=[bob])
            again = "c" * 32
            for name in ("first life", "second life"):
                await api.call("CreateZone", resource_uuid=again, name=name)
                await api.call("UpdateZone", uuid=again, description=name)
                await api.done("DeleteZone", uuid=again)
            await api.call("CreateInstanceOffering", resource_uuid=again, name="third", cpu_num=1, memory_size=1 << 30)
            await api.done("DeleteVmInstance", uuid=vm.uuid)

    asyncio.run(live())
    store = SqliteRecorder(directory / "log.db")
    yield store
    store.close()


def folded(models: ReadModels, records: list[Record]) -> dict[str, set[Row]]:
    """Everything, by a fold from the beginning that shares nothing with what is kept."""
    views: dict[str, View] = {}
    for record in records:
        views.setdefault(record.resource_uuid, View(record.resource_uuid)).take(record)
    found: dict[str, set[Row]] = {model.kind: set() for model in models}
    for view in views.values():
        for model, rows in rows_of(view, models):
            row = rows.row
            found[model.kind].add((rows.uuid, row[DOC], row[OWNER], row[PUBLIC], rows.shares))
    return found


async def kept(past: Past, models: ReadModels, kind: str, position: int) -> set[Row]:
    model = models[kind]

    def read(connection: Any) -> set[Row]:
        table, shares = model.table, model.shares.c
        found = set()
        for row in connection.execute(select(table)).mappings():
            asked = select(shares.account_uuid).where(shares.kind == kind, shares.resource_uuid == row["uuid"])
            accounts = tuple(sorted(connection.execute(asked).scalars()))
            found.add((row["uuid"], row[DOC], row[OWNER], row[PUBLIC], accounts))
        return found

    return await past.ask(kind, "", position, ADMIN, read)


def followed(store: SqliteRecorder, engine: Engine, models: ReadModels, chance: random.Random, most: int) -> None:
    projector = Projector(store, engine, models)
    projector.prepare()
    while projector.advance(chance.randint(1, most)):
        pass


def hold(store: SqliteRecorder, engine: Engine, seed: int, most: int, looks: int) -> None:
    models, chance = ReadModels.of_api(), random.Random(seed)
    followed(store, engine, models, chance, most)
    records = store.read_all(0, 100_000)

    async def reached(_: int) -> None: ...

    async def compare() -> None:
        past = Past(store, models, engine, reached)
        for position in (0, len(records), *(chance.randint(1, len(records)) for _ in range(looks))):
            wanted = folded(models, records[:position])
            for kind in (kind for kind, rows in folded(models, records).items() if rows or wanted[kind]):
                assert await kept(past, models, kind, position) == wanted[kind], (kind, position)
        past.close()

    asyncio.run(compare())


@pytest.mark.parametrize(("seed", "most"), [(1, 1), (2, 7), (3, 60), (4, 2000)])
def test_rows_of_every_moment_on_sqlite(lived: SqliteRecorder, tmp_path: Path, seed: int, most: int) -> None:
    """ARC-14: whatever batches the follower wrote in, one event at a time or all at once."""
    engine = open_engine(tmp_path)
    try:
        hold(lived, engine, seed, most, looks=12)
    finally:
        engine.dispose()


@pytest.mark.parametrize(("seed", "most"), [(5, 3), (6, 100)])
def test_rows_of_every_moment_on_postgresql(
    lived: SqliteRecorder, tmp_path: Path, postgres: PostgresCluster, seed: int, most: int
) -> None:
    """ARC-14"""
    engine = open_engine(tmp_path, postgres.database())
    try:
        hold(lived, engine, seed, most, looks=8)
    finally:
        engine.dispose()


def test_gaps_are_few_when_the_follower_keeps_up(lived: SqliteRecorder, tmp_path: Path) -> None:
    """Event by event there are none, and the rows of the past are in the tables."""
    engine, models = open_engine(tmp_path), ReadModels.of_api()
    try:
        followed(lived, engine, models, random.Random(1), 1)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM past_gap").scalar_one() == 0
            machines = connection.exec_driver_sql("SELECT count(*) FROM past__vm_instance").scalar_one()
        events = [r for r in lived.read_all(0, 100_000) if r.kind.startswith("vm_instance")]
        assert machines >= len(events) - 4  # all but what is right now
    finally:
        engine.dispose()
