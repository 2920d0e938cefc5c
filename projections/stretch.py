"""A stretch of the log as a follower folded it: which resources it touched, and what is to be written of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from projections.view import View
from zcloud.kernel.record import Record
from zcloud.kernel.snapshot import EVERY, Snapshot, take


@dataclass
class Stretch:
    """What is written at once."""

    touched: dict[str, View] = field(default_factory=dict)
    # Of which resources this is the very beginning: there are no rows of them yet.
    fresh: set[str] = field(default_factory=set)
    # As which kinds each resource lived.
    lives: dict[str, set[str]] = field(default_factory=dict)
    # Where each resource's rows of before are no longer right.
    since: dict[str, int] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)
    # Resource and position of each event.
    index: list[tuple[str, int]] = field(default_factory=list)
    position: int = 0

    def take(self, record: Record, view_of: Callable[[Record], tuple[View, bool]]) -> None:
        """Fold the next record. view_of: the view of its resource as it was before, and whether it is a new one."""
        uuid, position = record.resource_uuid, record.position
        view = self.touched.get(uuid)
        if view is None:
            view, fresh = view_of(record)
            self.touched[uuid] = view
            self.since[uuid] = position
            if fresh:
                self.fresh.add(uuid)
        view.take(record)
        self.index.append((uuid, position))
        self.position = position
        if record.originator_version % EVERY == 0:
            self.snapshots.append(take(view.part(record), record))
        if view.main is not None:
            kind, lives = view.main.kind, self.lives.get(uuid)
            if lives is None:
                self.lives[uuid] = {kind}
            else:
                lives.add(kind)

    def gaps(self) -> list[tuple[str, str, int, int]]:
        """Resources, with each kind as which they lived, that have changed more than once: since when, and until."""
        return [
            (uuid, kind, self.since[uuid], view.position)
            for uuid, view in self.touched.items()
            if self.since[uuid] < view.position
            for kind in self.lives.get(uuid, ())
        ]
