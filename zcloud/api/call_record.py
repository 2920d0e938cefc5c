"""What a door tells of a call, and the record of the call log that comes of it, without the request's secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from projections.schema.fields import is_secret
from zcloud.api import position
from zcloud.api.rpcs import rpcs
from zcloud.v1 import options_pb2
from zcloud.v1.operation_log_pb2 import OperationLog

LONGEST = 4096
HIDDEN = "***"
# What some URLs hold before their host.
_LOGIN = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/]*@", re.ASCII)


class Told(msgspec.Struct, array_like=True, frozen=True):
    """One call as its door saw it: cheap to make; what takes reading is left to complete().

    began and ended in microseconds; request and answer as they went over the wire; events with the positions of the
    first and of the last one that the call wrote.
    """

    rpc: str
    uuid: str
    began: int
    ended: int
    source: str
    client: str
    code: str
    error: str = ""
    error_reason: str = ""
    account_uuid: str = ""
    account_name: str = ""
    session_uuid: str = ""
    reason: str = ""
    request_id: str = ""
    validate_only: bool = False
    request: bytes = b""
    answer: bytes = b""
    events: int = 0
    first: int = 0
    last: int = 0
    # Instead of a request: what the log says of itself.
    said: str = ""


def complete(told: Told, node: str = "") -> tuple[OperationLog, str]:
    """The record, and the account that it belongs to. node: the name of that which took the call."""
    made = OperationLog(
        uuid=told.uuid,
        name=told.rpc,
        source=told.source,
        client=told.client[:255],
        code=told.code,
        success=told.code == "OK",
        error=told.error[:LONGEST],
        error_reason=told.error_reason,
        account_uuid=told.account_uuid,
        account_name=told.account_name,
        session_uuid=told.session_uuid,
        reason=told.reason,
        request_id=told.request_id,
        validate_only=told.validate_only,
        request=told.said,
        events=told.events,
        management_node_name=node,
    )
    made.create_date.FromMicroseconds(told.began)
    made.finish_date.FromMicroseconds(told.ended)
    made.duration.FromMicroseconds(told.ended - told.began)
    if told.events:
        made.first_position, made.last_position = position.encode(told.first), position.encode(told.last)
    rpc = rpcs().get(told.rpc)
    if rpc is not None:
        made.reads, made.resource_kind = rpc.reads, rpc.kind
        _read(made, rpc, told)
    return made, made.account_uuid


def _read(made: OperationLog, rpc: Any, told: Told) -> None:
    login = rpc.name.startswith("LogIn")
    try:
        request = rpc.request.FromString(told.request)
    except DecodeError:
        made.request = "(no valid request)"
    else:
        made.request = msgspec.json.encode(redacted(request)).decode()[:LONGEST]
        made.resource_uuid = getattr(request, "uuid", "") or getattr(request, "resource_uuid", "")
        if login:  # whoever's session the call came with
            made.account_uuid, made.session_uuid, made.account_name = "", "", getattr(request, "account_name", "")
    if told.answer:
        response = rpc.response.FromString(told.answer)
        made.job_uuid = getattr(response, "job_uuid", "")
        made.resource_uuid = made.resource_uuid or getattr(getattr(response, "inventory", None), "uuid", "")
        if login:
            made.account_uuid, made.session_uuid = response.inventory.account_uuid, response.inventory.uuid


def redacted(message: Message) -> dict[str, Any]:
    """A request as JSON values, without its secrets."""
    shown = _shown(message.DESCRIPTOR)
    return {field.name: shown[field.number](value) for field, value in message.ListFields()}


@cache
def _shown(kind: Descriptor) -> dict[int, Callable[[Any], Any]]:
    """How the value of each field of a message is shown, by its number."""
    return {field.number: _value(field) for field in kind.fields}


def _value(field: FieldDescriptor) -> Callable[[Any], Any]:
    if is_secret(field):
        return lambda _: HIDDEN
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return lambda value: {str(key): str(item) for key, item in value.items()}
    single = _single(field)
    return (lambda value: [single(item) for item in value]) if field.is_repeated else single


def _single(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: f"({len(value)} bytes)"
    if field.GetOptions().Extensions[options_pb2.rules].format == options_pb2.FORMAT_URL:
        return lambda value: _LOGIN.sub(rf"\1{HIDDEN}@", value)
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda value: names.get(value, value)
    if field.message_type is None:
        return lambda value: value
    return _well_known if field.message_type.full_name.startswith("google.protobuf.") else redacted


def _well_known(value: Message) -> Any:
    try:
        return MessageToDict(value, preserving_proto_field_name=True)
    except ValueError:  # what was refused for it is told nevertheless: a time that is none, a mask that JSON lacks
        return str(value)
