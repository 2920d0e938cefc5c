"""Requests made of their descriptors, and refusals as clients meet them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.support import called
from zcloud.api.rpcs import rpcs

_DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)


class ApiError(Exception):
    """A refusal as a client meets it: code ("NOT_FOUND"), reason, the fields that are named, the facts."""

    def __init__(self, error: Any) -> None:
        self.code: str = error.code().name
        self.message: str = error.details() or ""
        self.details: dict[str, Any] = {}
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                for packed in status_pb2.Status.FromString(value).details:
                    for kind in _DETAILS:
                        if packed.Is(kind.DESCRIPTOR):
                            self.details[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
        info = self.details.get("ErrorInfo")
        self.reason: str = info.reason if info else ""
        self.facts: dict[str, str] = dict(info.metadata) if info else {}
        bad = self.details.get("BadRequest")
        self.fields: list[str] = [v.field for v in bad.field_violations] if bad else []
        super().__init__(f"{self.code} {self.reason} {self.fields}: {self.message}")

    @property
    def told(self) -> str:
        """All that the caller is told, as one text."""
        return f"{self.code} {self.message} {self.details}"


def refused(name: str, error: Any) -> ApiError:
    """What a call has come to, and that this RPC was refused."""
    made = ApiError(error)
    called.note(name, made.code)
    return made


def build(name: str, fields: Mapping[str, Any]) -> Message:
    """The request of an RPC from its descriptor; enums by short name (state_event="enable")."""
    request = rpcs()[name].request
    return request(**{key: _value(request.DESCRIPTOR.fields_by_name[key], value) for key, value in fields.items()})


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.type != FieldDescriptor.TYPE_ENUM or not isinstance(value, str):
        return value
    wanted = "_" + value.upper()
    return next(v.number for v in field.enum_type.values if v.name == value or v.name.endswith(wanted))


def metadata(token: str, meta: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Of a call in a session."""
    own = {"authorization": f"Bearer {token}"} if token else {}
    return tuple({**own, **meta}.items())
