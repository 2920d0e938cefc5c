"""From a message's fields to what the columns hold: empty is NULL, times are microseconds, enums are short text."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from projections.schema.enums import short_names
from projections.schema.fields import Field, FieldType, Group, is_secret

INT64_MAX = 2**63 - 1

Value = str | int | float | None


def micros(seconds: int, nanos: int) -> int:
    """Microseconds, rounded down, as the log keeps time."""
    return seconds * 1_000_000 + nanos // 1000


def converter(field: Field) -> Callable[[Any], Value]:
    """What turns a value of the field into the column's."""
    match field.type:
        case FieldType.TEXT:
            # Empty text and absent text are the same in proto3. PostgreSQL cannot hold a zero byte, and a host's
            # odd message must not stop the fold.
            return lambda value: value.replace("\0", "\ufffd") or None
        case FieldType.INTEGER:
            # The stores' integers are signed; the document keeps the exact number.
            return lambda value: min(value, INT64_MAX)
        case FieldType.NUMBER:
            return float
        case FieldType.BOOLEAN:
            return int
        case FieldType.ENUM:
            assert field.enum is not None
            names = short_names(field.enum)
            # An enum is open: a number that this version does not know is shown as it is.
            return lambda value: names.get(value, str(value)) if value else None
        case FieldType.TIME | FieldType.DURATION:
            return lambda value: micros(value.seconds, value.nanos)


def reader(field: Field) -> Callable[[Message], Value]:
    """What reads a single field of a message into its column."""
    convert, name = converter(field), field.name
    if field.presence:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    if field.type is FieldType.TEXT:  # most fields are texts: one call each
        return lambda message: getattr(message, name).replace("\0", "\ufffd") or None
    if field.type is FieldType.BOOLEAN:
        return lambda message: +getattr(message, name)
    return lambda message: convert(getattr(message, name))


class RowReader:
    """Reads the single fields of a group, and of its single parts, into one row."""

    def __init__(self, group: Group) -> None:
        self._columns = [field.column for field in group.fields()]
        members = [m for m in group.members.values() if not m.repeated]
        self._fields = [(m.column, reader(m)) for m in members if isinstance(m, Field)]
        self._parts = [(m.name, RowReader(m)) for m in members if isinstance(m, Group)]

    def read(self, message: Message | None) -> dict[str, Value]:
        """The row; a part that is absent has NULL in all its columns."""
        if message is None:
            return dict.fromkeys(self._columns)
        row = {column: read(message) for column, read in self._fields}
        for name, part in self._parts:
            row.update(part.read(getattr(message, name) if message.HasField(name) else None))
        return row


class ListReader:
    """Reads one list of a message into the rows of its side table."""

    def __init__(self, path: tuple[str, ...], member: Field | Group) -> None:
        self._path = path
        self.side = member.side
        if isinstance(member, Group):
            self._row: Callable[[Any], dict[str, Value]] = RowReader(member).read
        else:
            convert = converter(member)
            self._row = lambda value: {"value": convert(value)}

    def read(self, message: Message, resource_uuid: str) -> list[dict[str, Value]]:
        """The rows, in the list's order."""
        items: Any = message
        for name in self._path:
            items = getattr(items, name)
        return [{"resource_uuid": resource_uuid, "idx": i, **self._row(item)} for i, item in enumerate(items)]


def list_readers(group: Group, path: tuple[str, ...] = ()) -> list[ListReader]:
    """A reader for each list of a resource, those of its single parts included."""
    readers: list[ListReader] = []
    for member in group.members.values():
        here = (*path, member.name)
        if member.repeated:
            readers.append(ListReader(here, member))
        elif isinstance(member, Group):
            readers += list_readers(member, here)
    return readers


@lru_cache
def has_secret(message: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
    """Whether any field of the message, at any depth, is marked secret."""
    if message.full_name in seen:
        return False
    seen |= {message.full_name}
    return any(
        is_secret(f) or (f.message_type is not None and has_secret(f.message_type, seen)) for f in message.fields
    )


def clear_secrets(message: Message) -> None:
    """Empties every field that the proto marks secret, at any depth."""
    for field, value in message.ListFields():
        if is_secret(field):
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if field.is_repeated else (value,):
                clear_secrets(part)
