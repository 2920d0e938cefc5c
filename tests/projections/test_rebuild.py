"""Read models filled from a whole log: the rows of a patient follower, with all indexes, whenever it was cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from projections import projector as projectors
from projections.engine import open_engine
from projections.projector import Projector
from projections.rebuild import rebuild
from projections.schema.registry import ReadModels
from tests.support.tables import rows
from zcloud.domain.infrastructure.zone import Zone
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.errors import Refused
from zcloud.kernel.log import Log
from zcloud.kernel.store import Store, open_store
from zcloud.kernel.unit import Unit

NUMBER = 40
Place = tuple[Store, Path, str]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A log in which zones came, changed, were shared and went, and some came again; stretches are short."""
    monkeypatch.setattr(projectors, "BATCH", 1)
    monkeypatch.setattr(projectors, "WINDOW", 30)
    monkeypatch.setattr(projectors, "RENDERED", 7)
    address = request.getfixturevalue("postgres").database() if request.param == "postgresql" else ""
    store = open_store(tmp_path, address)
    asyncio.run(_live(store))
    yield store, tmp_path, address
    store.close()


async def _live(store: Store) -> None:
    cloud, context = Cloud(Log(store)), Context(actor=SYSTEM, origin="test")
    cloud.log.start()
    made = [f"{n:032x}" for n in range(NUMBER)]

    async def create(unit: Unit) -> None:
        for n, uuid in enumerate(made):
            (await unit.new(Zone, uuid, account_uuid="a" * 32)).create(name=f"zone-{n}")

    async def change(unit: Unit) -> None:
        for n, uuid in enumerate(made):
            zone = await unit.get(Zone, uuid)
            zone.update(description=f"changed {n}")
            zone.share(("b" * 32,) if n % 2 else (), n % 4 == 0)
            if n % 5 == 0:
                zone.remove()

    async def again(unit: Unit) -> None:
        for n in range(0, NUMBER, 10):
            (await unit.new(Zone, made[n], account_uuid="c" * 32)).create(name="again")

    for decision in (create, change, again):
        await cloud.decide(context, decision)
    cloud.log.close()


def indexes(engine: Engine) -> set[str]:
    inspector = inspect(engine)
    return {str(i["name"]) for table in inspector.get_table_names() for i in inspector.get_indexes(table)}


def patient(store: Store, path: Path) -> dict[str, list[Any]]:
    """Rows of a follower that takes one event at a time."""
    engine = create_engine(f"sqlite:///{path}")
    projector = Projector(store, engine, ReadModels.of_api())
    projector.prepare()
    while projector.advance(1):
        pass
    found = rows(engine)
    engine.dispose()
    return found


def spoil(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE zone SET name = 'wrong'"))


def test_what_serves_stays_until_the_new_ones_are_whole(place: Place) -> None:
    """ARC-05: a rebuild that is killed leaves the old read models; one that is not gives a patient follower's rows."""
    store, directory, address = place
    assert rebuild(store, directory, address) == store.head()
    engine = open_engine(directory, address)
    wanted = patient(store, directory / "patient.db")
    assert rows(engine) == wanted
    assert len(wanted["zone"]) == NUMBER - NUMBER // 10
    spoil(engine)

    def die(position: int) -> None:
        if position > 60:
            raise KeyboardInterrupt

    engine.dispose()
    with pytest.raises(KeyboardInterrupt):
        rebuild(store, directory, address, die)
    assert "wrong" in str(rows(engine)["zone"])
    engine.dispose()
    rebuild(store, directory, address)
    assert rows(engine) == wanted
    engine.dispose()


def test_it_stands_beside_a_follower_or_refuses(place: Place) -> None:
    """ARC-05: on PostgreSQL nodes go on with the new tables; a SQLite file that is open is not taken away."""
    store, directory, address = place
    engine = open_engine(directory, address)
    live = Projector(store, engine, ReadModels.of_api())
    live.prepare()
    live.advance(30)
    if address:
        rebuild(store, directory, address)
        with pytest.raises(projectors.Overtaken):
            live.advance(30)
        live.resume()
        assert live.position == store.head()
        assert not live.advance()
    else:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM zone"))
            with pytest.raises(Refused, match="stop the server"):
                rebuild(store, directory, address)
        assert not list(directory.glob("*.new*"))
        while live.advance():
            pass
    assert rows(engine) == patient(store, directory / "patient.db")
    engine.dispose()


def test_a_fill_in_place_goes_on_where_it_was_killed(place: Place) -> None:
    """ARC-05: indexes come last; until then a restart, another node or a page of the log too many changes nothing."""
    store, directory, address = place
    engine, models = open_engine(directory, address), ReadModels.of_api()
    first = Projector(store, engine, models)
    first.prepare()
    assert first.advance()
    assert 0 < first.position < store.head()
    assert "ix_zone_by_name" not in indexes(engine)
    second, other = Projector(store, engine, models), Projector(store, engine, models)
    for one in (second, other):
        one.prepare()
        assert one.position == first.position
    while second.advance():
        pass
    with pytest.raises(projectors.Overtaken):
        other.advance()
    other.resume()
    assert not other.advance()
    wanted = {index.name for table in second._tables for index in table.indexes}
    assert indexes(engine) >= wanted
    assert rows(engine) == patient(store, directory / "patient.db")
    engine.dispose()
