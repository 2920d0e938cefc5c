"""Read models without a node: built from the log as of a position, and compared with the live ones."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, inspect, select

import zcloud.domain
import zcloud.kernel
from projections import audit
from projections.projector import WINDOW, Projector, progress
from projections.rebuild import Told, private
from projections.schema.registry import ReadModels
from zcloud.kernel.store import Store


class NotThere(Exception):
    """There are no read models."""


@dataclass(frozen=True)
class Difference:
    """A row that is not what a fresh fold gives; live or fresh is None where there is none."""

    table: str
    key: tuple[Any, ...]
    live: dict[str, Any] | None
    fresh: dict[str, Any] | None

    @property
    def columns(self) -> list[str]:
        """Which columns differ; none when the row itself is too much or is missing."""
        if self.live is None or self.fresh is None:
            return []
        return [name for name, value in self.fresh.items() if self.live.get(name) != value]


def load_kinds() -> None:
    """Know every aggregate by its name."""
    for package in (zcloud.kernel, zcloud.domain):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(info.name)


def time_to_position(store: Store, time: int) -> int:
    """The newest position at or before a time (microseconds); positions have no gaps, and times grow with them."""
    low, high = 0, store.head()
    while low < high:
        middle = (low + high + 1) // 2
        if store.read_all(middle - 1, 1)[0].time <= time:
            low = middle
        else:
            high = middle - 1
    return low


def fold_until(store: Store, path: Path, position: int, told: Told = lambda _: None) -> int:
    """Read models as of a position in a fresh SQLite file; gives how far it is."""
    if path.exists():
        raise FileExistsError(f"{path} is there already")
    engine = private(path)
    try:
        projector = Projector(store, engine, ReadModels.of_api(), past=False)
        projector.prepare()
        while projector.position < position and projector.advance(min(WINDOW, position - projector.position)):
            told(projector.position)
        projector.finish()
        return projector.position
    finally:
        engine.dispose()


def compare(store: Store, engine: Engine, path: Path, told: Told = lambda _: None) -> tuple[int, Iterator[Difference]]:
    """The live read models against a fresh fold up to the same position, which is made at the path.

    What is live stands still for that long, as the reader sees it, however much is written.
    """
    models = ReadModels.of_api()
    live = _steady(engine)
    try:
        if not inspect(live).has_table(progress.name):
            raise NotThere("there are no read models here")
        row = live.execute(select(progress.c.position).where(progress.c.name == "models")).one_or_none()
        if row is None:
            raise NotThere("the read models were never filled")
        position = fold_until(store, path, int(row.position), told)
    except BaseException:
        live.close()
        raise

    def differences() -> Iterator[Difference]:
        fresh_engine = create_engine(f"sqlite:///{path}")
        try:
            with live, fresh_engine.connect() as fresh:
                for table in _tables(models):
                    yield from _differences(table, live, fresh)
        finally:
            fresh_engine.dispose()

    return position, differences()


def _steady(engine: Engine) -> Connection:
    """A connection to which everything stays as it is now."""
    if engine.dialect.name == "postgresql":
        return engine.connect().execution_options(isolation_level="REPEATABLE READ")
    made = engine.connect()
    made.exec_driver_sql("BEGIN")
    return made


def _tables(models: ReadModels) -> list[Table]:
    found = {table.name: table for model in models for table in (*model.tables, model.shares)}
    return [*found.values(), audit.events]


def _differences(table: Table, live: Connection, fresh: Connection) -> Iterator[Difference]:
    keys = [column.name for column in table.primary_key] or [column.name for column in table.columns]
    order = [table.c[name] for name in keys]
    statement = select(table).order_by(*order).execution_options(yield_per=1000)
    sides = [(dict(row) for row in c.execute(statement).mappings()) for c in (live, fresh)]
    one, other = next(sides[0], None), next(sides[1], None)
    while one is not None or other is not None:
        mine, its = (_key(row, keys) if row is not None else None for row in (one, other))
        if its is None or (mine is not None and mine < its):
            yield Difference(table.name, tuple(one[k] for k in keys), one, None)  # type: ignore[index]
            one = next(sides[0], None)
        elif mine is None or its < mine:
            yield Difference(table.name, tuple(other[k] for k in keys), None, other)  # type: ignore[index]
            other = next(sides[1], None)
        else:
            if one != other:
                yield Difference(table.name, tuple(one[k] for k in keys), one, other)  # type: ignore[index]
            one, other = next(sides[0], None), next(sides[1], None)


def _key(row: dict[str, Any], keys: list[str]) -> tuple[Any, ...]:
    """In the order of the stores: text by its bytes, nothing first."""
    return tuple(itertools.chain.from_iterable(_comparable(row[name]) for name in keys))


def _comparable(value: Any) -> tuple[Any, ...]:
    if value is None:
        return (0, b"")
    return (1, value.encode() if isinstance(value, str) else value)
