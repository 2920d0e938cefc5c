"""The moment of a decision in its answer: a store that several nodes write may have moved it on."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def move(message: Message, given: int, stamped: int) -> None:
    """Every timestamp that is the one given becomes the one of the log (both microseconds)."""
    if given == stamped:
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE or field.message_type.GetOptions().map_entry:
            continue
        for part in value if field.is_repeated else (value,):
            if isinstance(part, Timestamp):
                if part.ToMicroseconds() == given:
                    part.FromMicroseconds(stamped)
            else:
                move(part, given, stamped)
