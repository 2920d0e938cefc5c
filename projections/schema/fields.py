"""Fields of a message as the read model sees them: what can be a column, and what lies in a side table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from zcloud.v1 import options_pb2

# A message may contain itself; past this depth its fields are in the document only.
MAX_NESTING = 3


class FieldType(StrEnum):
    """Type of a value in a column and in the filter language."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ENUM = "enum"
    TIME = "time"
    DURATION = "duration"


_SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: FieldType.TEXT,
    FieldDescriptor.CPPTYPE_INT32: FieldType.INTEGER,
    FieldDescriptor.CPPTYPE_INT64: FieldType.INTEGER,
    FieldDescriptor.CPPTYPE_UINT32: FieldType.INTEGER,
    FieldDescriptor.CPPTYPE_UINT64: FieldType.INTEGER,
    FieldDescriptor.CPPTYPE_FLOAT: FieldType.NUMBER,
    FieldDescriptor.CPPTYPE_DOUBLE: FieldType.NUMBER,
    FieldDescriptor.CPPTYPE_BOOL: FieldType.BOOLEAN,
    FieldDescriptor.CPPTYPE_ENUM: FieldType.ENUM,
}
_MESSAGES = {"google.protobuf.Timestamp": FieldType.TIME, "google.protobuf.Duration": FieldType.DURATION}


@dataclass(frozen=True)
class Field:
    """One value, or a list of values, that a filter can name."""

    name: str
    camel: str
    type: FieldType
    repeated: bool
    presence: bool
    # Column in the table of its group; "value" in the side table of a list.
    column: str
    # Suffix of the side table of a list.
    side: str
    enum: EnumDescriptor | None


@dataclass(frozen=True)
class Group:
    """Fields of a message: the resource itself (no name), a part of it, or a list of parts."""

    name: str
    camel: str
    repeated: bool
    # Suffix of the side table of a list of parts.
    side: str
    members: Mapping[str, Member]

    def fields(self) -> Iterator[Field]:
        """The single values that lie in this group's own row, those of its single parts included."""
        for member in self.members.values():
            if isinstance(member, Group):
                if not member.repeated:
                    yield from member.fields()
            elif not member.repeated:
                yield member

    def lists(self) -> Iterator[Member]:
        """The lists of values and of parts, those in its single parts included."""
        for member in self.members.values():
            if member.repeated:
                yield member
            elif isinstance(member, Group):
                yield from member.lists()


Member = Field | Group


def is_secret(field: FieldDescriptor) -> bool:
    """Whether the proto marks the field as one that is never stored, shown or searched."""
    return field.GetOptions().Extensions[options_pb2.rules].secret


def _scalar_type(field: FieldDescriptor) -> FieldType | None:
    # Bytes share the C++ type of text, but are no text: they stay in the document.
    if field.type == FieldDescriptor.TYPE_BYTES:
        return None
    if field.message_type is not None:
        return _MESSAGES.get(field.message_type.full_name)
    return _SCALARS.get(field.cpp_type)


def _member(field: FieldDescriptor, prefix: str, depth: int, in_list: bool) -> Member | None:
    column = f"{prefix}{field.name}"
    scalar = _scalar_type(field)
    if scalar is not None:
        # A list inside a list of parts would need a table below a side table; such a list is in the document only.
        if field.is_repeated and in_list:
            return None
        return Field(
            name=field.name,
            camel=field.json_name,
            type=scalar,
            repeated=field.is_repeated,
            presence=field.has_presence,
            column="value" if field.is_repeated else column,
            side=column,
            enum=field.enum_type,
        )
    message = field.message_type
    if message is None or depth >= MAX_NESTING or (field.is_repeated and in_list):
        return None
    if message.GetOptions().map_entry or message.file.package == "google.protobuf":
        return None
    inner = "" if field.is_repeated else f"{column}__"
    members = _members(message, inner, depth + 1, in_list or field.is_repeated)
    return Group(field.name, field.json_name, field.is_repeated, column, members) if members else None


def _members(message: Descriptor, prefix: str, depth: int, in_list: bool) -> dict[str, Member]:
    found = ((f.name, _member(f, prefix, depth, in_list)) for f in message.fields if not is_secret(f))
    return {name: member for name, member in found if member is not None}


def root_group(message: Descriptor) -> Group:
    """The fields of a resource's message."""
    return Group("", "", False, "", _members(message, "", 0, False))
