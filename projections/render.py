"""From an aggregate and what stands beside it to the inventory message of the API, by field name."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from projections.schema.registry import resource_types
from zcloud.kernel.aggregate import Aggregate
from zcloud.v1 import options_pb2

Setter = Callable[[Message, Any], None]


@cache
def messages_of(kind: str) -> tuple[type[Message], ...]:
    """The messages under which a kind is shown: its own first, then those that it extends."""
    types = {t.DESCRIPTOR.GetOptions().Extensions[options_pb2.resource].kind: t for t in resource_types()}
    found = []
    while kind in types:
        found.append(types[kind])
        kind = types[kind].DESCRIPTOR.GetOptions().Extensions[options_pb2.resource].extends
    return tuple(found)


@cache
def kind_of(message_type: type[Message]) -> str:
    """The kind that a resource's message says it is."""
    return str(message_type.DESCRIPTOR.GetOptions().Extensions[options_pb2.resource].kind)


@cache
def enum_number(descriptor: EnumDescriptor, short: str) -> int:
    """The number of an enum's value by its short form: NoState of VmInstance.State."""
    upper = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).upper()
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", descriptor.name).upper()
    value = descriptor.values_by_name.get(f"{prefix}_{upper}")
    if value is None:
        raise LookupError(f"{descriptor.full_name} has no value {short}")
    return int(value.number)


def render(message_type: type[Message], *parts: Any) -> Message:
    """The message; each field is taken from the first part that has an attribute of its name."""
    plan = _plan(message_type, *map(type, parts)) or _planned(message_type, lambda name: _first(parts, name))
    plain, others = plan
    values = {}
    for name, part in plain:
        value = getattr(parts[part], name)
        if value:
            values[name] = value.value if isinstance(value, enum.Enum) else value
    message = message_type(**values)
    for name, setter, part in others:
        value = getattr(parts[part], name)
        if value:
            setter(message, value)
    return message


# Fields whose values are what the message holds, and the others with what sets them; each with the number of its part.
_Plan = tuple[tuple[tuple[str, int], ...], tuple[tuple[str, Setter, int], ...]]


@cache
def _plan(message_type: type[Message], *types: type) -> _Plan | None:
    """Which part has which field, where the classes say so: every attribute of an aggregate or struct is theirs."""
    if not all(issubclass(cls, (Aggregate, msgspec.Struct)) for cls in types):
        return None
    return _planned(message_type, lambda name: _first(types, name))


def _first(parts: Sequence[Any], name: str) -> int | None:
    return next((n for n, part in enumerate(parts) if hasattr(part, name)), None)


def _planned(message_type: type[Message], part_of: Callable[[str], int | None]) -> _Plan:
    found = [(name, setter, part) for name, setter in _setters(message_type) if (part := part_of(name)) is not None]
    fields = message_type.DESCRIPTOR.fields_by_name
    plain = tuple((name, part) for name, _, part in found if _is_plain(fields[name]))
    return plain, tuple(step for step in found if not _is_plain(fields[step[0]]))


def _is_plain(field: FieldDescriptor) -> bool:
    return not field.is_repeated and field.type not in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_ENUM)


@cache
def _setters(message_type: type[Message]) -> tuple[tuple[str, Setter], ...]:
    return tuple((field.name, _setter(field)) for field in message_type.DESCRIPTOR.fields)


def _setter(field: FieldDescriptor) -> Setter:
    name = field.name
    single = _value(field)
    if field.is_repeated:
        if field.type == FieldDescriptor.TYPE_MESSAGE:

            def extend_messages(message: Message, values: Any) -> None:
                for value in values:
                    getattr(message, name).append(single(value))

            return extend_messages

        def extend(message: Message, values: Any) -> None:
            ordered = sorted(values) if isinstance(values, (set, frozenset)) else values
            getattr(message, name).extend(single(value) for value in ordered)

        return extend
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if field.message_type.full_name == "google.protobuf.Timestamp":

            def set_time(message: Message, value: int) -> None:
                time = getattr(message, name)
                time.seconds, rest = divmod(value, 1_000_000)
                time.nanos = rest * 1000

            return set_time
        return lambda message, value: getattr(message, name).CopyFrom(single(value))
    return lambda message, value: setattr(message, name, single(value))


def _value(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type == FieldDescriptor.TYPE_ENUM:
        descriptor = field.enum_type
        return lambda v: enum_number(descriptor, v.value if isinstance(v, enum.Enum) else v)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        cls = field.message_type._concrete_class
        return lambda v: render(cls, v)
    return lambda v: v.value if isinstance(v, enum.Enum) else v


def plain(value: Any) -> Any:
    """An event or a part of it as JSON values."""
    return msgspec.to_builtins(value)
