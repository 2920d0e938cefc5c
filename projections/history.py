"""What each event changed of a resource, as its inventory shows it: field by field, before and after."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from projections.schema.enums import short_names
from projections.schema.fields import is_secret
from projections.view import View, load_view, message_of
from zcloud.kernel.record import Record
from zcloud.kernel.store import Store

# They say nothing that the event itself does not.
SELF_EVIDENT = ("uuid", "version", "last_op_date")
HIDDEN = "***"
# Ends of pages from which histories that are being read go on.
KEPT = 64


@dataclass(frozen=True)
class Change:
    """One field; values are plain data, None where there is nothing."""

    field: str
    before: Any
    after: Any


class History:
    """Folds resources anew, and remembers where readers of long histories stopped."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, int], View] = OrderedDict()
        self._lock = threading.Lock()

    def changes(self, uuid: str, after: int, records: Iterable[Record]) -> dict[int, list[Change]]:
        """What each record changed of the resource, by position; they follow each other from `after` on."""
        with self._lock:
            view = self._kept.pop((uuid, after), None)
        view = view or load_view(self._store, uuid, after)
        found: dict[int, list[Change]] = {}
        before = message_of(view)
        for record in records:
            after = record.position
            if record.resource_uuid != uuid:
                continue
            view.take(record)
            now = message_of(view)
            found[record.position] = changes(before, now)
            before = now
        with self._lock:
            self._kept[uuid, after] = view
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found


def changes(before: Message | None, after: Message | None) -> list[Change]:
    """The fields that differ, in the order of the message. Of secrets only that they differ is said."""
    descriptor = (after or before).DESCRIPTOR if after is not None or before is not None else None
    # A uuid that is used again may come back as another kind.
    one_kind = before is None or after is None or before.DESCRIPTOR is after.DESCRIPTOR
    found = []
    for field in descriptor.fields if descriptor is not None else ():
        if field.name in SELF_EVIDENT:
            continue
        old = _value(before, field) if before is not None and one_kind else None
        new = _value(after, field) if after is not None else None
        if old != new:
            found.append(Change(field.name, _plain(field, old), _plain(field, new)))
    return found


def _value(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return value if len(value) else None
    if field.has_presence:
        return value if message.HasField(field.name) else None
    return value or None


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if value is None:
        return None
    if is_secret(field):
        return HIDDEN
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(key): _single(item, value[key]) for key in sorted(value)}
    return [_single(field, item) for item in value] if field.is_repeated else _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return short_names(field.enum_type).get(value, str(value))
    if field.message_type is None:
        return value
    if field.message_type.full_name.startswith("google.protobuf."):
        return MessageToDict(value, preserving_proto_field_name=True)
    return {
        inner.name: _plain(inner, _value(value, inner)) for inner in field.message_type.fields if _set(value, inner)
    }


def _set(message: Message, field: FieldDescriptor) -> bool:
    return _value(message, field) is not None
