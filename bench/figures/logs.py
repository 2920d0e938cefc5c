"""Replay of a log into aggregates, and rebuilding of read models, against writing the same rows by raw batched SQL."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.figure import Figure, Size, measure
from projections.rebuild import rebuild
from tests.support.postgres import PostgresCluster
from zcloud.api.node import load_everything
from zcloud.domain.infrastructure.zone import Zone
from zcloud.kernel import memory
from zcloud.kernel.aggregate import Aggregate
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.fold import fold
from zcloud.kernel.log import Log
from zcloud.kernel.store import Store, open_store
from zcloud.kernel.store.rows import COLUMNS, row_of
from zcloud.kernel.unit import Unit

AT_ONCE = 200
CHANGES = 3
BATCH = 2000
READ = 5000
ROUNDS = 3
# Events a second.
REPLAY = 100_000
TARGETS = {"sqlite": 60_000, "postgresql": 40_000}


@measure
def logs(size: Size) -> Iterator[Figure]:
    """Of resources that are created and then changed three times each."""
    load_everything()
    memory.settle()
    resources = size.of(25_000, 5_000)
    for name, target in TARGETS.items():
        with _store(name) as (store, directory, address):
            asyncio.run(_fill(store, resources))
            number = store.head()
            replay = Figure(
                "replay" if name == "sqlite" else f"replay_{name}", "events/s", [], [], REPLAY, of_value=True
            )
            label = "rebuild" if name == "sqlite" else f"rebuild_{name}"
            rebuilt = Figure(label, "events/s", [], [], target, of_value=True)
            for _ in range(ROUNDS):
                limit = _raw(store, directory, address)
                replay.limits.append(limit)
                rebuilt.limits.append(limit)
                replay.values.append(number / _timed(lambda: _replay(store)))
                rebuilt.values.append(number / _timed(lambda: rebuild(store, directory, address)))
            replay.note = f"{number:,} events of {resources:,} resources"
            rebuilt.note = "limit: the same rows by raw batched SQL"
            yield replay
            yield rebuilt
            if name == "sqlite":
                note = "of a zone, as decisions keep it"
                yield Figure("aggregate_memory", "KiB/aggregate", [_memory(store) / 1024], more=False, note=note)


@contextlib.contextmanager
def _store(name: str) -> Iterator[tuple[Store, Path, str]]:
    with tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place, contextlib.ExitStack() as stack:
        address = ""
        if name == "postgresql":
            cluster = PostgresCluster()
            stack.callback(cluster.remove)
            address = cluster.database()
        store = open_store(Path(place), address)
        stack.callback(store.close)
        yield store, Path(place), address


async def _fill(store: Store, resources: int) -> None:
    cloud = Cloud(Log(store))
    cloud.log.start()
    context = Context(actor=SYSTEM, origin="bench")
    made: list[str] = []

    async def create(unit: Unit) -> None:
        for n in range(AT_ONCE):
            zone = await unit.new(Zone, account_uuid="a" * 32)
            zone.create(name=f"zone-{n}", description="x" * 40)
            made.append(zone.uuid)

    for _ in range(resources // AT_ONCE):
        await cloud.decide(context, create)
    for change in range(CHANGES):
        for first in range(0, resources, AT_ONCE):

            async def edit(unit: Unit, first: int = first, change: int = change) -> None:
                for uuid in made[first : first + AT_ONCE]:
                    (await unit.get(Zone, uuid)).update(description=f"changed {change}")

            await cloud.decide(context, edit)
    cloud.log.close()


def _timed(body: object) -> float:
    began = time.perf_counter()
    body()  # type: ignore[operator]
    return time.perf_counter() - began


def _memory(store: Store) -> float:
    """Bytes of an aggregate in memory."""
    tracemalloc.start()
    try:
        found = _replay(store)
        return tracemalloc.get_traced_memory()[0] / len(found)
    finally:
        tracemalloc.stop()


def _replay(store: Store) -> dict[str, Aggregate]:
    found: dict[str, Aggregate] = {}
    after = 0
    while records := store.read_all(after, READ):
        for record in records:
            stream = str(record.originator_id)
            found[stream] = fold(found.get(stream), record)
        after = records[-1].position
    return found


def _raw(store: Store, directory: Path, address: str) -> float:
    """The rows of the log into a table like it, in batches, durably; rows a second."""
    rows = [row_of(record) for record in store.read_all(0, store.head())]
    batches = [rows[n : n + BATCH] for n in range(0, len(rows), BATCH)]
    columns = ", ".join(COLUMNS)
    if address:
        with psycopg.connect(address) as connection:
            connection.execute(
                f"DROP TABLE IF EXISTS raw; CREATE TABLE raw AS SELECT {columns} FROM zcloud.events LIMIT 0".encode()
            )
            connection.commit()
            began = time.perf_counter()
            for batch in batches:
                with connection.cursor().copy(f"COPY raw ({columns}) FROM STDIN".encode()) as copy:
                    for row in batch:
                        copy.write_row(row)
                connection.commit()
            return len(rows) / (time.perf_counter() - began)
    path = directory / "raw.db"
    path.unlink(missing_ok=True)
    plain = sqlite3.connect(path, isolation_level=None)
    plain.execute("PRAGMA journal_mode=WAL")
    plain.execute("PRAGMA synchronous=FULL")
    plain.execute(f"CREATE TABLE raw ({columns})")
    text = f"INSERT INTO raw VALUES ({','.join('?' * len(COLUMNS))})"
    began = time.perf_counter()
    for batch in batches:
        plain.execute("BEGIN")
        plain.executemany(text, batch)
        plain.execute("COMMIT")
    rate = len(rows) / (time.perf_counter() - began)
    plain.close()
    return rate
