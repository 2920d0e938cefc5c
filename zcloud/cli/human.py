"""Values for people: sizes with units, times of this time zone, lists in a line."""

import json
from datetime import UTC
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from zcloud.cli.failures import printable
from zcloud.cli.naming import is_size, short_form
from zcloud.cli.plain import is_set, unpacked


def text_of(message: Message, field: FieldDescriptor) -> str:
    """A field in a line; empty when it holds nothing."""
    if field.has_presence and not message.HasField(field.name):
        return ""
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return printable(", ".join(f"{key}={value[key]}" for key in sorted(value)))
    if field.is_repeated:
        return ", ".join(_one(field, item) for item in value)
    return _one(field, value)


def size(number: int) -> str:
    """128 MiB for 134217728; exact when it is not a round number of anything."""
    amount, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if amount < 1024 or unit == "EiB":
            break
        amount /= 1024
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


def duration(seconds: float) -> str:
    """4.5 ms, 12.3 s."""
    return f"{seconds:.1f} s" if abs(seconds) >= 1 else f"{seconds * 1000:.1f} ms"


def local_time(timestamp: Any) -> str:
    """ISO 8601 in the zone of this machine."""
    return str(timestamp.ToDatetime(tzinfo=UTC).astimezone().isoformat(timespec="seconds"))


def _one(field: FieldDescriptor, value: Any) -> str:
    if field.message_type is not None:
        return _message(value)
    if field.enum_type is not None:
        return short_form(field.enum_type, value) or ""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "yes" if value else "no"
    if is_size(field):
        return size(value)
    return printable(str(value))


def _message(message: Any) -> str:
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        return local_time(message)
    if message.DESCRIPTOR.full_name == "google.protobuf.Duration":
        return duration(message.ToTimedelta().total_seconds())
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        return _message(unpacked(message))
    if message.DESCRIPTOR.full_name == "google.protobuf.Value":
        return printable(str(_brief(MessageToDict(message))))
    if message.DESCRIPTOR.full_name == "google.protobuf.Struct":
        return printable(" ".join(f"{key}={_brief(value)}" for key, value in sorted(MessageToDict(message).items())))
    set_fields = [field for field in message.DESCRIPTOR.fields if is_set(message, field)]
    # A line is often cut: what people know things by comes before what programs do.
    set_fields.sort(key=lambda field: field.name.endswith(("uuid", "uuids")))
    return " ".join(f"{field.name}={text_of(message, field)}" for field in set_fields)


def _brief(value: Any) -> Any:
    """Of what is in it only what says something, in the form of JSON."""
    if isinstance(value, dict | list):
        return json.dumps(_whole(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return _whole(value)


def _whole(value: Any) -> Any:
    # Numbers of a Struct are doubles; 3.0 for a count would look odd.
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
