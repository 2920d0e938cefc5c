"""Folds the log in batches and writes the read models, position and rows in one transaction."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, String, Table, delete, insert, select, text

from projections import ddl
from projections.audit import AuditIndex
from projections.model import Rows
from projections.render import kind_of, messages_of
from projections.schema.registry import ReadModels
from projections.snapshots import SnapshotsIn, SnapshotTable
from projections.stretch import Stretch
from projections.versions import versions_of
from projections.view import View, load_view, rows_of
from zcloud.kernel.record import Record
from zcloud.kernel.resource import Resource
from zcloud.kernel.store import Store

log = logging.getLogger(__name__)
BATCH = 2000
LARGEST = 32_000
# Records that are read at a time, and resources whose rows are in memory at a time.
READ = 5000
# Records of a stretch while there are no indexes and nobody is answered: what is long ago is seldom asked for.
WINDOW = 1 << 17
# Ends the fingerprint while there are no indexes.
BARE = " bare"
RENDERED = 4000
# How long the node that writes may stand still before another one writes, and how often that is looked at.
PATIENCE_SECONDS = 1.0
WATCH_SECONDS = 0.01
CACHED = 100_000

metadata = MetaData()
progress = Table(
    "projection",
    metadata,
    Column("name", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("fingerprint", String, nullable=False),
)


class Overtaken(Exception):
    """The read models are not where this follower left them: another one writes them, or their store lost a moment."""


class Projector:
    """Fills the read models of all kinds, from where they are; a changed shape is filled anew. One thread uses it."""

    def __init__(self, store: Store, engine: Engine, models: ReadModels, *, past: bool = True) -> None:
        """past: keep what is overwritten, and snapshots, so that the past can be asked for."""
        self.engine = engine
        self.models = models
        self.position = 0
        self._store = store
        self._views: OrderedDict[str, View] = OrderedDict()
        self._audit = AuditIndex()
        self._versions = versions_of(models) if past else None
        self._snapshots = SnapshotTable() if past else None
        self._sides = [side for side in (self._audit, self._versions, self._snapshots) if side is not None]
        # Whether what is in memory was not written.
        self._dirty = False
        self._limit = BATCH
        # Whether there are no indexes yet.
        self._bare = False

    @cached_property
    def _fingerprint(self) -> str:
        sides = "".join(side.fingerprint for side in self._sides)
        return "".join(sorted(model.fingerprint for model in self.models)) + sides

    @property
    def _tables(self) -> list[Table]:
        own = [table for model in self.models for table in (*model.tables, model.shares)]
        return list(dict.fromkeys([*own, *(table for side in self._sides for table in side.tables)]))

    def prepare(self) -> None:
        """Make the tables, or find where they are."""
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # nodes that start together
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('zcloud_views.tables'))"))
            metadata.create_all(connection)
            row = connection.execute(select(progress).where(progress.c.name == "models")).one_or_none()
            ours = row is not None and row.fingerprint.removesuffix(BARE) == self._fingerprint
            if row is None or not ours or row.position > self._store.head():
                self.rebuild(connection)
            else:
                self._found(row)

    def rebuild(self, connection: Connection) -> None:
        """Drop everything; following begins at the beginning. Where much is to come, indexes wait until it is there."""
        ddl.drop(connection, self._tables)
        ddl.create(connection, self._tables)
        connection.execute(delete(progress))
        values = {"name": "models", "position": 0, "fingerprint": self._fingerprint + BARE}
        connection.execute(insert(progress).values(values))
        self.position, self._bare = 0, True
        self._views.clear()
        if self._store.head() < BATCH:
            self._index(connection)
            self._bare = False

    def finish(self) -> None:
        """Be whole, however much of the log is still to be folded."""
        if self._bare:
            with self.engine.begin() as connection:
                self._pass(connection, self.position)
                self._index(connection)
            self._bare = False

    def _index(self, connection: Connection) -> None:
        ddl.index(connection, self._tables)
        if self.position:
            ddl.analyze(connection, self._tables)
        mine = progress.update().where(progress.c.name == "models")
        connection.execute(mine.values(fingerprint=self._fingerprint))

    def _found(self, row: Any) -> None:
        self.position, self._bare = row.position, row.fingerprint.endswith(BARE)

    def advance(self, limit: int = 0) -> bool:
        """Fold and write the next batch; False when there was none.

        limit: of records; by default a batch grows while there is more: a row that changes often is written once.
        """
        limit = limit or (WINDOW if self._bare else self._limit)
        stretch = self._fold(limit)
        whole = len(stretch.index) < limit
        self._limit = BATCH if whole else min(limit * 2, LARGEST)
        if not stretch.index:
            self.finish()
            return False
        with self.engine.begin() as connection:
            self._pass(connection, stretch.position)  # first: of two that write, one waits here and then goes back
            self._write(connection, stretch)
            if self._bare and whole:
                self._index(connection)
        self.position, self._dirty = stretch.position, False
        self._bare = self._bare and not whole
        while len(self._views) > CACHED:
            self._views.popitem(last=False)
        return True

    def _fold(self, limit: int) -> Stretch:
        """The next stretch of the log, of so many records if there are as many."""
        stretch, after = Stretch(), self.position
        while (missing := limit - len(stretch.index)) > 0:
            wanted = min(missing, READ)
            records = self._store.read_all(after, wanted)
            if records:
                self._dirty = True
            for record in records:
                stretch.take(record, self._view_before)
            after = stretch.position
            if len(records) < wanted:
                break
        return stretch

    def _pass(self, connection: Connection, position: int) -> None:
        shape = self._fingerprint + BARE * self._bare
        mine = progress.update().where(progress.c.name == "models", progress.c.position == self.position)
        if connection.execute(mine.where(progress.c.fingerprint == shape).values(position=position)).rowcount != 1:
            raise Overtaken(f"the read models are no longer at position {self.position}")

    def watch(self, head: int, patience: float = PATIENCE_SECONDS) -> bool:
        """While another node writes: return when it has come on. When it stands still, do what it should do.

        False when it has come as far as the head.
        """
        before, until = self.position, time.monotonic() + patience
        while True:
            self.resume()
            if self.position >= head:
                return False
            if self.position != before:
                return True
            if time.monotonic() > until:
                log.warning("nobody fills the read models: this node does, from position %d", self.position)
                try:
                    return self.advance()
                except Overtaken:  # by the one that should, or by another that was as impatient
                    self.resume()
                    return True
            time.sleep(WATCH_SECONDS)

    def resume(self) -> None:
        """After a failure: what is in memory may be ahead of the tables, or behind them."""
        with self.engine.connect() as connection:
            row = connection.execute(select(progress)).one()
        if row.position != self.position or self._dirty:
            self._views.clear()
        self._found(row)
        self._dirty = False

    def _view_before(self, record: Record) -> tuple[View, bool]:
        """What a record's resource was before it, and whether it is the first one of a resource."""
        uuid = record.resource_uuid
        view = self._views.get(uuid)
        if view is not None:
            self._views.move_to_end(uuid)
            return view, False
        first = record.originator_version == 1 and str(record.originator_id) == uuid
        view = self._views[uuid] = View(uuid) if first else self._load(uuid, record.position - 1)
        return view, first

    def _load(self, uuid: str, by: int) -> View:
        return load_view(self._store, uuid, by, SnapshotsIn(self.engine) if self._snapshots else None)

    def _write(self, connection: Connection, stretch: Stretch) -> None:
        views = iter(stretch.touched.values())
        while some := list(islice(views, RENDERED)):
            self._write_rows(connection, stretch, some)
        self._audit.write(connection, sorted(stretch.index))  # in the order of the table
        if self._snapshots is not None:
            self._snapshots.write(connection, stretch.snapshots)
        if self._versions is not None:
            self._versions.leave(connection, stretch.gaps())

    def _write_rows(self, connection: Connection, stretch: Stretch, views: Sequence[View]) -> None:
        upserts: dict[str, list[Rows]] = {}
        deletes: dict[str, list[str]] = {}
        for view in views:
            if view.uuid not in stretch.fresh:
                shown = set(shown_as(view))
                for kind in stretch.lives.get(view.uuid, ()):
                    for message_type in messages_of(kind):
                        if message_type.DESCRIPTOR.full_name not in shown:
                            deletes.setdefault(kind_of(message_type), []).append(view.uuid)
            for model, rows in rows_of(view, self.models):
                upserts.setdefault(model.kind, []).append(rows)
        for kind in dict.fromkeys((*upserts, *deletes)):
            model, written, gone = self.models[kind], upserts.get(kind, ()), deletes.get(kind, ())
            if self._versions is not None:
                before = (*(rows.uuid for rows in written), *gone)
                wrong = {uuid: stretch.since[uuid] for uuid in before if uuid not in stretch.fresh}
                self._versions.keep(connection, model, wrong)
            model.write(connection, written, gone, stretch.fresh)


def shown_as(view: View) -> Sequence[str]:
    """Names of the messages under which the view is shown now; none when it is gone."""
    if not isinstance(view.main, Resource) or not view.main.exists:
        return ()
    return [t.DESCRIPTOR.full_name for t in messages_of(view.main.kind)]
