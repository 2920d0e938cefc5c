"""A resource as it is shown, folded from the log: its own state, the facts beside it, and its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from projections.model import ReadModel, Rows
from projections.render import kind_of, messages_of, render
from projections.schema.registry import ReadModels
from zcloud.kernel.aggregate import Aggregate, companions_of, of_topic
from zcloud.kernel.fold import fold
from zcloud.kernel.record import Record
from zcloud.kernel.resource import Resource
from zcloud.kernel.snapshot import EVERY, Snapshots, load
from zcloud.kernel.store import Store

# Resources that are folded at once.
AT_ONCE = 1000


@dataclass
class View:
    """A resource as it is shown: its own state and the facts beside it, by stream."""

    uuid: str
    main: Aggregate | None = None
    beside: dict[str, Aggregate] = field(default_factory=dict)
    position: int = 0

    def take(self, record: Record) -> None:
        """Fold the next event of the resource, or of what stands beside it."""
        stream = str(record.originator_id)
        if stream == self.uuid:
            self.main = fold(self.main, record)
        else:
            cls = of_topic(record.topic)
            self.beside[stream] = fold(self.beside.get(stream), record, cls)
        self.position = max(self.position, record.position)

    def part(self, record: Record) -> Aggregate:
        """What a record that was taken in has become part of."""
        stream = str(record.originator_id)
        found = self.main if stream == self.uuid else self.beside[stream]
        assert found is not None
        return found


def load_view(store: Store, uuid: str, by: int, snapshots: Snapshots | None = None) -> View:
    """One resource from its streams, as it was at a position. What stood beside it in earlier lives is left out."""
    view = View(uuid)
    view.main, view.position = load(store, uuid, None, by, snapshots)
    if isinstance(view.main, Resource):
        for cls in companions_of(view.main.kinds):
            stream = cls.stream_of(uuid, view.main.life)
            found, position = load(store, stream, cls, by, snapshots)
            if found is not None:
                view.beside[stream] = found
                view.position = max(view.position, position)
    return view


def load_views(store: Store, uuids: Sequence[str], by: int, snapshots: Snapshots | None = None) -> Iterator[View]:
    """The same of many resources, with a few questions to the store for all that is not long."""
    for n in range(0, len(uuids), AT_ONCE):
        views = {uuid: View(uuid) for uuid in uuids[n : n + AT_ONCE]}
        long = _take_all(views, store.read_streams(list(views), EVERY, by))
        beside = {
            cls.stream_of(uuid, view.main.life): uuid
            for uuid, view in views.items()
            if uuid not in long and isinstance(view.main, Resource)
            for cls in companions_of(view.main.kinds)
        }
        found = store.read_streams(list(beside), EVERY, by)
        long |= {beside[stream] for stream, records in found.items() if len(records) == EVERY}
        _take_all({stream: views[uuid] for stream, uuid in beside.items() if uuid not in long}, found)
        for uuid, view in views.items():
            yield load_view(store, uuid, by, snapshots) if uuid in long else view


def _take_all(views: Mapping[str, View], found: Mapping[str, Sequence[Record]]) -> set[str]:
    """Fold streams into the views that they belong to; gives those that go on."""
    for stream, records in found.items():
        view = views.get(stream)
        for record in records if view is not None and len(records) < EVERY else ():
            view.take(record)  # type: ignore[union-attr]
    return {stream for stream, records in found.items() if len(records) == EVERY}


def facts_of(view: View) -> list[Aggregate]:
    """What stands beside the resource in its present life."""
    assert isinstance(view.main, Resource)
    if not view.beside:
        return []
    streams = [cls.stream_of(view.uuid, view.main.life) for cls in companions_of(view.main.kinds)]
    return [view.beside[stream] for stream in streams if stream in view.beside]


def rows_of(view: View, models: ReadModels) -> list[tuple[ReadModel, Rows]]:
    """The rows of a view in each of its read models; none when it is gone."""
    main = view.main
    if not isinstance(main, Resource) or not main.exists:
        return []
    found = []
    facts = facts_of(view)
    for message_type in messages_of(main.kind):
        model = models[kind_of(message_type)]
        message = render(message_type, main, *facts)
        rows = model.rows(message, main.account_uuid, main.shared_to_public, main.shared_with, view.position)
        found.append((model, rows))
    return found


def message_of(view: View) -> Message | None:
    """The inventory, secrets included; None when there is nothing to be shown."""
    main = view.main
    if not isinstance(main, Resource) or not main.exists:
        return None
    shown = messages_of(main.kind)
    return render(shown[0], main, *facts_of(view)) if shown else None
