"""Folds the log in batches and writes the read models, position and rows in one transaction."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, String, Table, delete, insert, select, text

from projections.audit import AuditIndex
from projections.model import Rows
from projections.render import kind_of, messages_of
from projections.schema.registry import ReadModels
from projections.snapshots import SnapshotsIn, SnapshotTable
from projections.versions import Versions
from projections.view import View, load_view, rows_of
from zcloud.kernel.record import Record
from zcloud.kernel.resource import Resource
from zcloud.kernel.snapshot import EVERY, Snapshot, take
from zcloud.kernel.store import Store

log = logging.getLogger(__name__)
BATCH = 2000
LARGEST = 32_000
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
        self._versions = Versions(models) if past else None
        self._snapshots = SnapshotTable() if past else None
        self._sides = [side for side in (self._audit, self._versions, self._snapshots) if side is not None]
        # Whether what is in memory was not written.
        self._dirty = False
        self._limit = BATCH

    def _fingerprint(self) -> str:
        sides = "".join(side.fingerprint for side in self._sides)
        return "".join(sorted(model.fingerprint for model in self.models)) + sides

    def prepare(self) -> None:
        """Make the tables, or find where they are."""
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # nodes that start together
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('zcloud_views.tables'))"))
            metadata.create_all(connection)
            row = connection.execute(select(progress).where(progress.c.name == "models")).one_or_none()
            if row is None or row.fingerprint != self._fingerprint() or row.position > self._store.head():
                self.rebuild(connection)
            else:
                self.position = row.position

    def rebuild(self, connection: Connection) -> None:
        """Drop everything; following begins at the beginning."""
        for model in self.models:
            model.drop(connection)
        for model in self.models:
            model.create(connection)
        for side in self._sides:
            side.drop(connection)
            side.create(connection)
        connection.execute(delete(progress))
        connection.execute(insert(progress).values(name="models", position=0, fingerprint=self._fingerprint()))
        self.position = 0
        self._views.clear()

    def advance(self, limit: int = 0) -> bool:
        """Fold and write the next batch; False when there was none.

        limit: of records; by default a batch grows while there is more: a row that changes often is written once.
        """
        limit = limit or self._limit
        records = self._store.read_all(self.position, limit)
        self._limit = min(limit * 2, LARGEST) if len(records) == limit else BATCH
        if not records:
            return False
        self._dirty = True
        touched: dict[str, View] = {}
        lives: dict[str, set[str]] = {}
        # Where each resource's rows of before are no longer right.
        since: dict[str, int] = {}
        snapshots: list[Snapshot] = []
        for record in records:
            view = self._take(record)
            touched[view.uuid] = view
            since.setdefault(view.uuid, record.position)
            if record.originator_version % EVERY == 0:
                snapshots.append(take(view.part(record), record))
            if view.main is not None:
                lives.setdefault(view.uuid, set()).add(view.main.kind)
        with self.engine.begin() as connection:
            self._pass(connection, records[-1].position)  # first: of two that write, one waits here and then goes back
            self._write(connection, touched, lives, since)
            self._audit.write(connection, records)
            if self._snapshots is not None:
                self._snapshots.write(connection, snapshots)
        self.position, self._dirty = records[-1].position, False
        while len(self._views) > CACHED:
            self._views.popitem(last=False)
        return True

    def _pass(self, connection: Connection, position: int) -> None:
        mine = progress.update().where(progress.c.name == "models", progress.c.position == self.position)
        if connection.execute(mine.values(position=position)).rowcount != 1:
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
            position = connection.execute(select(progress.c.position)).scalar_one()
        if position != self.position or self._dirty:
            self._views.clear()
        self.position, self._dirty = position, False

    def _take(self, record: Record) -> View:
        uuid, stream = record.resource_uuid, str(record.originator_id)
        view = self._views.get(uuid)
        if view is None:
            first = stream == uuid and record.originator_version == 1
            view = self._views[uuid] = View(uuid) if first else self._load(uuid, record.position - 1)
        self._views.move_to_end(uuid)
        view.take(record)
        return view

    def _load(self, uuid: str, by: int) -> View:
        return load_view(self._store, uuid, by, SnapshotsIn(self.engine) if self._snapshots else None)

    def _write(
        self, connection: Connection, touched: dict[str, View], lives: dict[str, set[str]], since: dict[str, int]
    ) -> None:
        upserts: dict[str, list[Rows]] = {}
        deletes: dict[str, list[str]] = {}
        for view in touched.values():
            shown = set(shown_as(view))
            for kind in lives.get(view.uuid, ()):
                for message_type in messages_of(kind):
                    name = message_type.DESCRIPTOR.full_name
                    model = self.models[kind_of(message_type)]
                    if name not in shown:
                        deletes.setdefault(model.kind, []).append(view.uuid)
            for model, rows in rows_of(view, self.models):
                upserts.setdefault(model.kind, []).append(rows)
        for model in self.models:
            written, gone = upserts.get(model.kind, ()), deletes.get(model.kind, ())
            if not written and not gone:
                continue
            if self._versions is not None:
                wrong = {uuid: since[uuid] for uuid in (*(rows.uuid for rows in written), *gone)}
                self._versions.keep(connection, model, wrong)
            model.write(connection, written, gone)
        if self._versions is not None:
            gaps = [(v.uuid, since[v.uuid], v.position) for v in touched.values() if since[v.uuid] < v.position]
            self._versions.leave(connection, gaps)


def shown_as(view: View) -> Sequence[str]:
    """Names of the messages under which the view is shown now; none when it is gone."""
    if not isinstance(view.main, Resource) or not view.main.exists:
        return ()
    return [t.DESCRIPTOR.full_name for t in messages_of(view.main.kind)]
