"""Refusals: what a command answers instead of events. Each has a code, a stable reason and plain words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum


class Code(Enum):
    """gRPC status codes that a refusal may carry (never INTERNAL or UNKNOWN)."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Reason(Enum):
    """Every reason there is; programs rely on them, so none is ever renamed."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_FILTER = "INVALID_FILTER"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"  # noqa: S105
    INVALID_METADATA = "INVALID_METADATA"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    RESOURCE_EXISTS = "RESOURCE_EXISTS"
    NAME_TAKEN = "NAME_TAKEN"
    REQUEST_REUSED = "REQUEST_REUSED"
    WRONG_STATE = "WRONG_STATE"
    WRONG_STATUS = "WRONG_STATUS"
    NOT_SAME_ZONE = "NOT_SAME_ZONE"
    ALREADY_ATTACHED = "ALREADY_ATTACHED"
    NOT_ATTACHED = "NOT_ATTACHED"
    STILL_IN_USE = "STILL_IN_USE"
    BEING_DELETED = "BEING_DELETED"
    JOB_ENDED = "JOB_ENDED"
    OVERLAP = "OVERLAP"
    DIFFERENT_SUBNET = "DIFFERENT_SUBNET"
    NO_HOST_AVAILABLE = "NO_HOST_AVAILABLE"
    NO_STORAGE_AVAILABLE = "NO_STORAGE_AVAILABLE"
    NO_ADDRESS_AVAILABLE = "NO_ADDRESS_AVAILABLE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    ADDRESS_TAKEN = "ADDRESS_TAKEN"
    VERSION_MOVED = "VERSION_MOVED"
    BUSY = "BUSY"
    NOT_LOGGED_IN = "NOT_LOGGED_IN"
    WRONG_CREDENTIALS = "WRONG_CREDENTIALS"
    NOT_ALLOWED = "NOT_ALLOWED"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    SLOW_READER = "SLOW_READER"
    SLOW_WRITER = "SLOW_WRITER"
    STORAGE_UNREACHABLE = "STORAGE_UNREACHABLE"


class Refused(Exception):
    """A command (or query) that was understood and refused; nothing was changed.

    facts: what a program needs to react, as texts. fields: (field, what is wrong and what would be right).
    """

    def __init__(
        self,
        code: Code,
        reason: Reason,
        message: str,
        *,
        fields: Iterable[tuple[str, str]] = (),
        resource: tuple[str, str] | None = None,
        detail: object = None,
        **facts: object,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.fields = list(fields)
        self.resource = resource
        self.detail = detail
        self.facts = {name: str(value) for name, value in facts.items()}


class Conflict(Exception):
    """Somebody else wrote first: decide again on what is there now."""


def quoted(value: object) -> str:
    """What a caller sent, as it may be shown: its beginning, on one line."""
    return json.dumps(value[:80], ensure_ascii=False) if isinstance(value, str) else repr(value)


def invalid(field: str, value: object, right: str, reason: Reason = Reason.INVALID_FIELD) -> Refused:
    """The value of a field is wrong whatever the state is."""
    text = f"{field} is {quoted(value)}: {right}"
    return Refused(Code.INVALID_ARGUMENT, reason, text, fields=[(field, text)], field=field)


def not_found(kind: str, uuid: str) -> Refused:
    """There is no such resource, or the caller may not know of it. kind: empty where any would have done."""
    kind = kind or "resource"
    return Refused(
        Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND, f"there is no {kind} {uuid}", resource=(kind, uuid), kind=kind
    )


def precondition(reason: Reason, message: str, **facts: object) -> Refused:
    """Right in itself, and wrong now."""
    refused = Refused(Code.FAILED_PRECONDITION, reason, message)
    refused.facts = {name: str(value) for name, value in facts.items()}
    return refused
