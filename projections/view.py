"""A resource as it is shown, folded from the log: its own state, the facts beside it, and its rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.message import Message

from projections.model import ReadModel, Rows
from projections.render import kind_of, messages_of, render
from projections.schema.registry import ReadModels
from zcloud.kernel.aggregate import Aggregate, companions_of, kinds
from zcloud.kernel.fold import fold
from zcloud.kernel.record import Record
from zcloud.kernel.resource import Resource
from zcloud.kernel.snapshot import Snapshots, load
from zcloud.kernel.store import Store


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
            cls = kinds()[record.topic.partition(".")[0]]
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


def facts_of(view: View) -> list[Aggregate]:
    """What stands beside the resource in its present life."""
    assert isinstance(view.main, Resource)
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
