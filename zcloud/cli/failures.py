"""A refused call in plain words: code, reason, message, and every violation and fact that came with it."""

import re
import shlex
from collections.abc import Iterator

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2

from zcloud.cli.errors import FAILED, UNAVAILABLE, CliError

# Whether the call was taken is not known.
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# What a fact says in so many letters, and the message too, need not be read twice.
_LONG = 30
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class CallError(CliError):
    """The server refused, or could not be reached.

    request_id: of a call that may be sent again under it.
    """

    def __init__(self, name: str, server: str, error: grpc.RpcError, hint: str = "", request_id: str = "") -> None:
        self.code: grpc.StatusCode = error.code()
        self.status = UNAVAILABLE if self.code is grpc.StatusCode.UNAVAILABLE else FAILED
        self.reason = ""
        lines = [line for line in _lines(error) if line]
        for detail in _details(error):
            if isinstance(detail, details.ErrorInfo):
                self.reason = detail.reason
        reason = f" ({self.reason})" if self.reason else ""
        where = f" at {server}" if self.status == UNAVAILABLE else ""
        if hint and self.status == UNAVAILABLE:
            lines.append(hint)
        if request_id and self.code in _UNANSWERED:
            lines.append(f"the same once more, and done once: --request {shlex.quote(request_id)}")
        message = printable(error.details() or "the server gave no reason")
        super().__init__("\n  ".join([f"{name}{where}: {self.code.name}{reason}: {message}", *lines]))


def printable(text: str) -> str:
    """Text without control characters, which could rewrite the terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _details(error: grpc.RpcError) -> Iterator[object]:
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            continue
        for packed in status.details:
            kind = getattr(details, packed.type_url.rpartition(".")[2], None)
            if kind is not None and packed.Is(kind.DESCRIPTOR):
                unpacked = kind()
                packed.Unpack(unpacked)
                yield unpacked


def _lines(error: grpc.RpcError) -> Iterator[str]:
    """What the message has said already tells nothing new: violations, and the field that they are of."""
    message = error.details() or ""
    lines = [line for detail in _details(error) for line in _lines_of(detail, message)]
    pairs = [line.partition(": ")[::2] for line in lines]
    said = {subject for subject, rest in pairs if rest and (rest == message or f"{subject} {rest}" in message)}
    for line, (subject, _) in zip(lines, pairs, strict=True):
        if subject not in said and line.removeprefix("field = ") not in said:
            yield printable(line)


def _lines_of(detail: object, message: str) -> Iterator[str]:
    if isinstance(detail, details.BadRequest):
        for field in detail.field_violations:
            yield f"{field.field}: {field.description}"
    elif isinstance(detail, details.PreconditionFailure):
        for condition in detail.violations:
            yield f"{condition.type} {condition.subject}: {condition.description}"
    elif isinstance(detail, details.QuotaFailure):
        for quota in detail.violations:
            yield f"{quota.subject}: {quota.description}"
    elif isinstance(detail, details.ResourceInfo):
        words = (detail.resource_type, detail.resource_name, detail.description)
        yield " ".join(word for word in words if word)
    elif isinstance(detail, details.ErrorInfo):
        for name, value in sorted(detail.metadata.items()):
            if len(value) < _LONG or value not in message:
                yield f"{name} = {value}"
    elif isinstance(detail, details.RetryInfo):
        yield f"try again in {detail.retry_delay.ToTimedelta().total_seconds():g} s"
