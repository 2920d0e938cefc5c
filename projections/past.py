"""The read models as of a position: one resource from its streams, a query from tables of what was right then."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection, Engine, StaticPool, Table, create_engine, select
from sqlalchemy.schema import CreateTable

from projections.model import ReadModel, Rows
from projections.query.query import condition
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from projections.schema.tables import DOC, OWN, OWNER, PUBLIC
from projections.snapshots import SnapshotsIn
from projections.versions import BATCH, Versions, shared_with, versions_of
from projections.view import View, load_view, load_views, rows_of
from zcloud.kernel.store import Store

T = TypeVar("T")
# Moments that are kept, and how many resources all of them together may hold.
MOMENTS = 8
RESOURCES = 200_000
# Queries of the past at the same time: each may copy a whole kind, and must not hold up the queries of now.
THREADS = 2
# What a query rests on: a kind's own rows (no side), or those of one of its lists.
Walked = tuple[str, str]
Views = Callable[[Sequence[str], int], Iterable[View]]


class Past:
    """Answers as of then. What was visible then, by owner and sharing of then, is visible."""

    def __init__(
        self, store: Store, models: ReadModels, engine: Engine, reached: Callable[[int], Awaitable[None]]
    ) -> None:
        """engine: where the read models are, with what they were; reached: wait until they are at a position."""
        self._store = store
        self._models = models
        self._engine = engine
        self._reached = reached
        self._versions = versions_of(models)
        self._snapshots = SnapshotsIn(engine)
        self._kept: OrderedDict[int, Tables] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="past")

    def close(self) -> None:
        """Forget what is kept."""
        self._threads.shutdown()
        for tables in self._kept.values():
            tables.close()
        self._kept.clear()

    async def get(self, kind: str, uuid: str, position: int, viewer: Viewer) -> Message | None:
        """One resource, None when there was none that the viewer may see."""

        def read() -> Message | None:
            for model, rows in rows_of(self._view(uuid, position), self._models):
                if model.kind == kind and self._sees(viewer, model, rows, position):
                    return model.message_type.FromString(rows.row[DOC])
            return None

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    def _view(self, uuid: str, position: int) -> View:
        return load_view(self._store, uuid, position, self._snapshots)

    def _views(self, uuids: Sequence[str], position: int) -> Iterator[View]:
        return load_views(self._store, uuids, position, self._snapshots)

    def _sees(self, viewer: Viewer, model: ReadModel, rows: Rows, position: int) -> bool:
        if may_see(model, rows, viewer):
            return True
        whole = rows.row[f"{model.part_of}_uuid"] if model.part_of and not model.admin_only else None
        return bool(whole) and any(
            found.kind == model.part_of and self._sees(viewer, found, its, position)
            for found, its in rows_of(self._view(str(whole), position), self._models)
        )

    async def ask(self, kind: str, filter: str, position: int, viewer: Viewer, ask: Callable[[Connection], T]) -> T:
        """What is asked of tables that hold the kind, and all that the filter walks. Raises QueryError."""
        walked = _walk(self._models, kind, filter, viewer).walked
        await self._reached(position)

        def read() -> T:
            with self._tables(position) as tables:
                tables.fill(self._engine, self._versions, walked, self._views)
                with tables.engine.connect() as connection:
                    return ask(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        finally:
            self._shrink()

    def _tables(self, position: int) -> Tables:
        with self._lock:
            if position not in self._kept:
                self._kept[position] = Tables(self._models, position)
            self._kept.move_to_end(position)
            return self._kept[position]

    def _shrink(self) -> None:
        """The newest stays, however large it is: it may be asked for its next page."""
        with self._lock:
            while len(self._kept) > 1 and (
                len(self._kept) > MOMENTS or sum(tables.size for tables in self._kept.values()) > RESOURCES
            ):
                self._kept.popitem(last=False)


class Tables:
    """Tables of some kinds as of a position. One thread at a time uses them."""

    def __init__(self, models: ReadModels, position: int) -> None:
        self.engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False, "cached_statements": 16}
        )
        self.size = 0
        self._models = models
        self._position = position
        self._filled: set[Walked] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Tables:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self) -> None:
        """Give the memory back."""
        self.engine.dispose()

    def fill(self, source: Engine, versions: Versions, walked: set[Walked], views: Views) -> None:
        """Copy what was right then, for the kinds and lists that are not there yet."""
        missing = walked - self._filled
        wanted = {kind: self._models[kind] for kind, side in missing if not side}
        with self.engine.begin() as connection:
            if wanted:
                with _steady(source) as rows:
                    for model in wanted.values():
                        self._copy(versions, rows, connection, model)
                    gaps = versions.gaps_at(rows, wanted, self._position)
                self._fold(connection, wanted, views(gaps, self._position))
            for model in wanted.values():
                _index(connection, model.table)
            for kind, side in missing:
                if side:
                    self._unfold(connection, self._models[kind], side)
        self._filled |= missing

    def _fold(self, connection: Connection, wanted: Collection[str], views: Iterable[View]) -> None:
        """What no row tells, since the follower was in a hurry then."""
        for view in views:
            for model, found in rows_of(view, self._models):
                if model.kind in wanted:
                    row = tuple(found.row[c.name] for c in model.table.columns)
                    _insert(connection, model.table, [row])
                    _insert(connection, model.shares, model.shared(found.row, found.shares))
                    self.size += 1

    def _copy(self, versions: Versions, rows: Connection, connection: Connection, model: ReadModel) -> None:
        connection.execute(CreateTable(model.table))
        model.shares.create(connection, checkfirst=True)
        columns = model.table.columns.keys()
        public = columns.index(PUBLIC)
        found = iter(versions.rows_at(rows, model, self._position))
        while batch := list(islice(found, BATCH)):
            _insert(connection, model.table, [tuple(row)[:-1] for row in batch])
            shares = [
                model.shared(dict(zip(columns, row, strict=False)), shared_with(row[-1]))
                for row in batch
                if row[-1] or row[public]
            ]
            _insert(connection, model.shares, list(chain.from_iterable(shares)))
            self.size += len(batch)

    def _unfold(self, connection: Connection, model: ReadModel, side: str) -> None:
        """The rows of a list, from the documents that hold it."""
        table, reader = model.sides[side], model.reader(side)
        connection.execute(CreateTable(table))
        columns = [c.name for c in table.columns]
        documents = iter(connection.execute(select(model.table.c.uuid, model.table.c[DOC])).all())
        while batch := list(islice(documents, BATCH)):
            rows = [row for uuid, doc in batch for row in reader.read(model.message_type.FromString(doc), uuid)]
            _insert(connection, table, [tuple(row[name] for name in columns) for row in rows])
        _index(connection, table)


@contextlib.contextmanager
def _steady(source: Engine) -> Iterator[Connection]:
    """A connection for which nothing moves: a row overwritten meanwhile must not be missed, nor be there twice."""
    with source.connect() as connection:
        if source.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
            yield connection
        else:
            yield connection.execution_options(isolation_level="REPEATABLE READ")


def _index(connection: Connection, table: Table) -> None:
    """Cheaper when the rows are there. Those for an account's own pages cost more than they save for a few pages."""
    for index in table.indexes:
        if OWN not in index.info:
            index.create(connection)


def _insert(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows in the order of the columns, as the driver takes them."""
    if rows:
        marks = ",".join("?" * len(table.columns))
        connection.exec_driver_sql(f'INSERT INTO "{table.name}" VALUES ({marks})', list(rows))  # noqa: S608


def _walk(models: ReadModels, kind: str, filter: str, viewer: Viewer) -> _Walked:
    walked = _Walked(models)
    condition(walked[kind], walked, filter, viewer, now=0)
    return walked


def walked_by(models: ReadModels, kind: str, filter: str, viewer: Viewer) -> set[str]:
    """The kind and all others that the answer to a filter rests on. Raises QueryError."""
    return {kind for kind, _ in _walk(models, kind, filter, viewer).walked}


def may_see(model: ReadModel, rows: Rows, viewer: Viewer) -> bool:
    """As visible() says of a row that is in a table, whatever it is a part of."""
    if viewer.is_admin:
        return True
    if model.admin_only or not viewer.account_uuid:
        return False
    return rows.row[OWNER] == viewer.account_uuid or bool(rows.row[PUBLIC]) or viewer.account_uuid in rows.shares


class _Walked(ReadModels):
    """Takes down which kinds, and which of their lists, are asked for while a filter is compiled."""

    def __init__(self, models: ReadModels) -> None:
        self.walked: set[Walked] = set()
        super().__init__(models)

    def __getitem__(self, kind: str) -> ReadModel:
        self.walked.add((kind, ""))
        model = copy.copy(super().__getitem__(kind))
        model.sides = _Sides(model, self.walked)
        return model


class _Sides(dict[str, Table]):
    def __init__(self, model: ReadModel, walked: set[Walked]) -> None:
        super().__init__(model.sides)
        self._kind, self._walked = model.kind, walked

    def __getitem__(self, side: str) -> Table:
        self._walked.add((self._kind, side))
        return super().__getitem__(side)
