"""Snapshots: what an aggregate was at a version, so that a long stream need not be folded from its beginning.

They are a fold of the log like all else: whoever follows it makes them, and they may be thrown away. One is good only
for the code that made it and for the very event it stands on; otherwise the stream is folded from before.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import msgspec

from zcloud.kernel import aggregate as aggregates
from zcloud.kernel.aggregate import Aggregate
from zcloud.kernel.fold import fold
from zcloud.kernel.record import Record
from zcloud.kernel.store import Store

# Every so many versions of a stream.
EVERY = 200


@dataclass(frozen=True)
class Snapshot:
    """A stream's aggregate as its version left it. position: of that version's event; code: what can read it."""

    stream: str
    version: int
    position: int
    kind: str
    code: str
    state: bytes


class Snapshots(Protocol):
    """Where snapshots are kept."""

    def newest(self, stream: str, by: int | None = None) -> Snapshot | None:
        """The newest of a stream, at or before a position; None when there is none, or they can't be read."""


def take(aggregate: Aggregate, record: Record) -> Snapshot:
    """The snapshot of an aggregate that has just taken in a record."""
    cls = type(aggregate)
    values = {name: getattr(aggregate, name) for name in ("uuid", *cls.defaults)}
    state = msgspec.msgpack.encode(values)
    stream = str(record.originator_id)
    return Snapshot(stream, record.originator_version, record.position, cls.kind, code_of(cls.kind), state)


def restore(snapshot: Snapshot) -> Aggregate | None:
    """The aggregate; None when other code made the snapshot, or it is damaged."""
    cls = aggregates.kinds().get(snapshot.kind)
    if cls is None or code_of(cls.kind) != snapshot.code:
        return None
    try:
        state = _decoder(cls.kind).decode(snapshot.state)
    except msgspec.DecodeError:
        return None
    made = cls.blank(state.uuid, snapshot.version)
    made.__dict__.update({name: getattr(state, name) for name in state.__struct_fields__})
    return made


@cache
def code_of(kind: str) -> str:
    """Changes with the modules that say how an aggregate of this kind is folded."""
    modules = dict.fromkeys(base.__module__ for base in aggregates.by_kind(kind).__mro__ if base is not object)
    text = "\0".join(inspect.getsource(sys.modules[name]) for name in modules)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _decoder(kind: str) -> msgspec.msgpack.Decoder[Any]:
    """Of the attributes by their declared types, each where it was declared."""
    cls = aggregates.by_kind(kind)
    types: dict[str, Any] = {"uuid": str}
    for base in reversed(cls.__mro__):
        names = {**vars(sys.modules[base.__module__]), **vars(base)}
        for name, text in vars(base).get("__annotations__", {}).items():
            if name in cls.defaults:
                types[name] = eval(text, names) if isinstance(text, str) else text  # noqa: S307 - our own annotations
    return msgspec.msgpack.Decoder(msgspec.defstruct(kind, list(types.items())))


def load(
    store: Store,
    stream: str,
    companion: type[Aggregate] | None = None,
    by: int | None = None,
    snapshots: Snapshots | None = None,
) -> tuple[Aggregate | None, int]:
    """Fold a stream, up to a position; a long one from its newest snapshot. None when nothing ever happened in it.

    Gives the position of the last event besides.
    """
    records = store.read_stream(stream, upto=EVERY if snapshots else None, by=by)
    if snapshots is not None and len(records) == EVERY:
        snapshot = snapshots.newest(stream, by)
        found = restore(snapshot) if snapshot is not None else None
        if snapshot is not None and found is not None:
            later = store.read_stream(stream, after=snapshot.version - 1, by=by)
            # It stands on its event, or it is of another log.
            if later and (later[0].originator_version, later[0].position) == (snapshot.version, snapshot.position):
                return _folded(found, later[1:], companion), later[-1].position
        records += store.read_stream(stream, after=EVERY, by=by)
    return _folded(None, records, companion), records[-1].position if records else 0


def _folded(found: Aggregate | None, records: list[Record], companion: type[Aggregate] | None) -> Aggregate | None:
    for record in records:
        found = fold(found, record, companion)
    return found
