"""Keeps secrets of a task's arguments out of what is said about the task."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from zcloud.v1 import options_pb2

LONGEST = 4096
HIDDEN = "[secret]"


def _is_secret(field: FieldDescriptor) -> bool:
    rules: options_pb2.FieldRules = field.GetOptions().Extensions[options_pb2.rules]  # type: ignore[index]
    return rules.secret


def secrets(message: Message) -> Iterator[str]:
    """The values of all fields that options.proto marks as secret, at any depth."""
    for field, value in message.ListFields():
        values = list(value) if field.is_repeated else [value]
        if field.type == field.TYPE_MESSAGE:
            # A map is repeated and gives keys; no task has one that holds messages.
            for inner in values:
                if isinstance(inner, Message):
                    yield from secrets(inner)
        elif _is_secret(field):
            yield from (v if isinstance(v, str) else repr(v) for v in values)


def redact(text: str, args: Message | None) -> str:
    """The text without secrets, and not longer than an error has to be."""
    if args is not None:
        # Longest first: one secret may be part of another.
        for secret in sorted(set(filter(None, secrets(args))), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
