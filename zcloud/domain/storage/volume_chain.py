"""Which files a volume consists of: its snapshots' files, each on top of another, and the one that it writes to now.

A snapshot is the file that was written to until it was taken. tip: the snapshot that the volume's own file lies on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class ChainNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """The file of a snapshot; size: bytes that it takes, volume_size: bytes that the guest saw.

    path: empty once what it held was merged into the only file on top of it, which has taken its place.
    """

    path: str
    parent: str = ""
    tree: str = ""
    distance: int = 0
    size: int = 0
    volume_size: int = 0


class VolumeChain(Companion, of="volume", role="chain"):
    """trash: files that nothing needs any more, and that a host has yet to remove."""

    nodes: dict[str, ChainNode] = {}  # noqa: RUF012 - replaced by folds
    tip: str = ""
    trash: tuple[str, ...] = ()

    class Extended(Event):
        """The file was frozen as a snapshot, and another is written to on top of it."""

        snapshot_uuid: str
        node: ChainNode

        def apply(self, aggregate: Any) -> None:
            aggregate.nodes = {**aggregate.nodes, self.snapshot_uuid: self.node}
            aggregate.tip = self.snapshot_uuid

    class Retracted(Event):
        """The snapshot was not to be: its file is the one that is written to, as before."""

        snapshot_uuid: str

        def apply(self, aggregate: Any) -> None:
            gone = aggregate.nodes.get(self.snapshot_uuid)
            aggregate.tip = gone.parent if gone is not None else ""
            aggregate.nodes = {u: node for u, node in aggregate.nodes.items() if u != self.snapshot_uuid}

    class TipMoved(Event):
        """The file that is written to lies on another snapshot, or on none."""

        tip: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.tip = self.tip

    class Merged(Event):
        """What a snapshot held is in the file on top of it as well: into, or the volume's own where that is empty."""

        snapshot_uuid: str
        into: str = ""
        # Where that file now lies, when it took the snapshot's place, and what it takes.
        path: str = ""
        size: int = 0

        def apply(self, aggregate: Any) -> None:
            nodes = dict(aggregate.nodes)
            gone = nodes.get(self.snapshot_uuid, ChainNode(""))
            if self.into:
                old = nodes.get(self.into, ChainNode(""))
                nodes[self.into] = msgspec.structs.replace(
                    old, parent=gone.parent, path=self.path or old.path, size=self.size
                )
            else:
                aggregate.tip = gone.parent
            if self.path:
                nodes[self.snapshot_uuid] = msgspec.structs.replace(gone, path="")
            aggregate.nodes = nodes

    class Dropped(Event):
        """A snapshot that nothing lies on is gone."""

        snapshot_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.nodes = {u: node for u, node in aggregate.nodes.items() if u != self.snapshot_uuid}

    class Discarded(Event):
        """Nothing needs this file any more."""

        path: str

        def apply(self, aggregate: Any) -> None:
            aggregate.trash = (*aggregate.trash, self.path)

    class Swept(Event):
        """All that was discarded is removed."""

        def apply(self, aggregate: Any) -> None:
            aggregate.trash = ()

    @property
    def snapshot_count(self) -> int:
        """How many snapshots the volume has."""
        return len(self.nodes)

    @property
    def snapshot_size(self) -> int:
        """Bytes that they take."""
        return sum(node.size for node in self.nodes.values())

    @property
    def paths(self) -> tuple[str, ...]:
        """Files beside the one that is written to."""
        return (*(node.path for node in self.nodes.values() if node.path), *self.trash)

    def on_top_of(self, snapshot_uuid: str) -> tuple[str, ...]:
        """What lies directly on a snapshot's file: other snapshots, and "" for the volume's own file."""
        found = tuple(uuid for uuid, node in self.nodes.items() if node.parent == snapshot_uuid)
        return (*found, "") if self.tip == snapshot_uuid else found

    def below_tip(self) -> tuple[str, ...]:
        """The snapshots whose files a guest that runs has open, newest first."""
        found: list[str] = []
        uuid = self.tip
        while uuid:
            found.append(uuid)
            uuid = self.nodes[uuid].parent
        return tuple(found)

    def extend(self, snapshot_uuid: str, node: ChainNode) -> None:
        """It was taken."""
        self.trigger(self.Extended(snapshot_uuid=snapshot_uuid, node=node))

    def retract(self, snapshot_uuid: str) -> None:
        """It was taken back; what is not there needs no event."""
        if snapshot_uuid in self.nodes:
            self.trigger(self.Retracted(snapshot_uuid=snapshot_uuid))

    def move_tip(self, tip: str) -> None:
        """The same again is no event."""
        if tip != self.tip:
            self.trigger(self.TipMoved(tip=tip))

    def merged(self, snapshot_uuid: str, into: str, path: str, size: int) -> None:
        """What lies on a snapshot does not need it any more."""
        self.trigger(self.Merged(snapshot_uuid=snapshot_uuid, into=into, path=path, size=size))

    def drop(self, snapshot_uuid: str) -> None:
        """Its record goes; what is not there needs no event."""
        if snapshot_uuid in self.nodes:
            self.trigger(self.Dropped(snapshot_uuid=snapshot_uuid))

    def discard(self, path: str) -> None:
        """To be removed."""
        self.trigger(self.Discarded(path=path))

    def swept(self) -> None:
        """Nothing is left of it; nothing to sweep is no event."""
        if self.trash:
            self.trigger(self.Swept())
