"""The read models as of a position: one resource from its streams, a query from tables made of the log, in memory."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection, StaticPool, create_engine

from projections.model import ReadModel, Rows
from projections.query.query import condition
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from projections.schema.tables import DOC, OWNER, PUBLIC
from projections.view import View, load_view, rows_of
from zcloud.kernel.aggregate import kinds
from zcloud.kernel.resource import Resource
from zcloud.kernel.store import Store

T = TypeVar("T")
BATCH = 2000
# Moments that are kept, and how many resources all of them together may hold.
MOMENTS = 8
RESOURCES = 200_000
# Queries of the past at the same time: each may fold the whole log, and must not hold up the queries of now.
THREADS = 2


class Past:
    """Answers as of then. What was visible then, by owner and sharing of then, is visible."""

    def __init__(self, store: Store, models: ReadModels) -> None:
        self._store = store
        self._models = models
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
            for model, rows in rows_of(load_view(self._store, uuid, position), self._models):
                if model.kind == kind and self._sees(viewer, model, rows, position):
                    return model.message_type.FromString(rows.row[DOC])
            return None

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    def _sees(self, viewer: Viewer, model: ReadModel, rows: Rows, position: int) -> bool:
        if may_see(model, rows, viewer):
            return True
        whole = rows.row[f"{model.part_of}_uuid"] if model.part_of and not model.admin_only else None
        return bool(whole) and any(
            found.kind == model.part_of and self._sees(viewer, found, its, position)
            for found, its in rows_of(load_view(self._store, str(whole), position), self._models)
        )

    async def ask(self, kind: str, filter: str, position: int, viewer: Viewer, ask: Callable[[Connection], T]) -> T:
        """What is asked of tables that hold the kind, and all that the filter walks. Raises QueryError."""
        walked = walked_by(self._models, kind, filter, viewer)

        def read() -> T:
            with self._tables(position) as tables:
                tables.fill(self._store, walked)
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
        self._kinds: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Tables:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self) -> None:
        """Give the memory back."""
        self.engine.dispose()

    def fill(self, store: Store, wanted: set[str]) -> None:
        """Fold the log for the kinds that are not there yet."""
        missing = wanted - self._kinds
        if not missing:
            return
        found: dict[str, list[Rows]] = {kind: [] for kind in missing}
        for view in fold_all(store, missing, self._position).values():
            for model, rows in rows_of(view, self._models):
                if model.kind in missing:
                    found[model.kind].append(rows)
        with self.engine.begin() as connection:
            for kind, rows_of_kind in found.items():
                self._models[kind].create(connection)
                self._models[kind].write(connection, rows_of_kind)
                self.size += len(rows_of_kind)
        self._kinds |= missing


def walked_by(models: ReadModels, kind: str, filter: str, viewer: Viewer) -> set[str]:
    """The kind and all others that the answer to a filter rests on. Raises QueryError."""
    walked = _Walked(models)
    condition(walked[kind], walked, filter, viewer, now=0)
    return walked.kinds


def shown_kinds(shown_as: set[str]) -> set[str]:
    """The kinds of resources that are shown as one of these."""
    return {cls.kind for cls in kinds().values() if issubclass(cls, Resource) and not shown_as.isdisjoint(cls.kinds)}


def fold_all(store: Store, shown_as: set[str], position: int) -> dict[str, View]:
    """Every resource that is shown as one of these kinds, as it was at a position, by uuid."""
    wanted = {cls.kind for cls in kinds().values() if issubclass(cls, Resource) and not shown_as.isdisjoint(cls.kinds)}
    views: dict[str, View] = {}
    at = 0
    while at < position:
        records = store.read_all(at, min(BATCH, position - at))
        if not records:
            break
        for record in records:
            if record.kind in wanted and record.position <= position:
                view = views.get(record.resource_uuid)
                if view is None:
                    view = views[record.resource_uuid] = View(record.resource_uuid)
                view.take(record)
        at = records[-1].position
    return views


def may_see(model: ReadModel, rows: Rows, viewer: Viewer) -> bool:
    """As visible() says of a row that is in a table, whatever it is a part of."""
    if viewer.is_admin:
        return True
    if model.admin_only or not viewer.account_uuid:
        return False
    return rows.row[OWNER] == viewer.account_uuid or bool(rows.row[PUBLIC]) or viewer.account_uuid in rows.shares


class _Walked(ReadModels):
    """Takes down which kinds are asked for while a filter is compiled."""

    def __init__(self, models: ReadModels) -> None:
        self.kinds: set[str] = set()
        super().__init__(models)

    def __getitem__(self, kind: str) -> ReadModel:
        self.kinds.add(kind)
        return super().__getitem__(kind)
