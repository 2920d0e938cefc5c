"""Messages as plain data for JSON and YAML: the proto's names, enums in short form, integers as numbers."""

import base64
from typing import Any

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from zcloud.cli import catalog
from zcloud.cli.naming import short_form


def plain(message: Message, *, sparse: bool = False) -> Any:
    """Plain data of a message; sparse leaves out what is not set, for answers under a read mask."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        return plain(unpacked(message), sparse=sparse)
    if message.DESCRIPTOR.full_name.startswith("google.protobuf."):
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    found = {}
    for field in message.DESCRIPTOR.fields:
        if not is_set(message, field) and (field.has_presence or sparse):
            continue
        found[field.name] = plain_field(field, getattr(message, field.name), sparse=sparse)
    return found


def unpacked(message: Any) -> Message:
    """What an Any holds: a message of the API."""
    catalog.import_all()
    kind = descriptor_pool.Default().FindMessageTypeByName(message.TypeName())
    found = message_factory.GetMessageClass(kind)()
    message.Unpack(found)
    return found


def is_set(message: Message, field: FieldDescriptor) -> bool:
    """Whether a field holds anything but nothing."""
    return message.HasField(field.name) if field.has_presence else bool(getattr(message, field.name))


def plain_field(field: FieldDescriptor, value: Any, *, sparse: bool = False) -> Any:
    """Plain data of a whole field."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(key): _plain_item(item, value[key], sparse) for key in sorted(value)}
    if field.is_repeated:
        return [_plain_item(field, item, sparse) for item in value]
    return _plain_item(field, value, sparse)


def _plain_item(field: FieldDescriptor, value: Any, sparse: bool) -> Any:
    if field.message_type is not None:
        return plain(value, sparse=sparse)
    if field.enum_type is not None:
        return short_form(field.enum_type, value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
