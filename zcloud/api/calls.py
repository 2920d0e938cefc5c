"""Every call is kept: who, from where, what, how long, how it ended, and what it wrote. Accepted, refused, or read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from projections.call_log import CallLog
from projections.schema.fields import is_secret
from zcloud.api import position
from zcloud.api.call import Call, on_begin
from zcloud.api.rpcs import Rpc
from zcloud.domain.operations.global_config import current
from zcloud.kernel.record import Record
from zcloud.v1.operation_log_pb2 import OperationLog

LONGEST = 4096
DAY = 86_400 * 1_000_000
SWEEP_SECONDS = 60.0
HIDDEN = "***"
# By how much more of the log is read until all that a call wrote is seen.
WINDOW = 16
REMOVED = "RemoveOldOperationLogs"

_call: ContextVar[list[Call] | None] = ContextVar("call", default=None)
Unary = Callable[[bytes, Any], Awaitable[bytes]]
Streaming = Callable[[bytes, Any], AsyncIterator[bytes]]


def _began(call: Call) -> None:
    seen = _call.get()
    if seen is not None:
        seen.append(call)


on_begin.append(_began)


class Calls:
    """What the server's doors tell of every call."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.log = CallLog(node.directory, OperationLog)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep calls, and to remove old ones."""
        self.log.start()
        self._task = asyncio.get_running_loop().create_task(self._sweep(), name="call-log")

    async def close(self) -> None:
        """Write what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self.log.close)

    # -- around the handlers

    def unary(self, rpc: Rpc, behaviour: Unary) -> Unary:
        """The handler, with every call to it kept."""

        async def answer(data: bytes, context: Any) -> bytes:
            with self._kept(rpc, data, context) as response:
                response.append(await behaviour(data, context))
                return response[0]

        return answer

    def streaming(self, rpc: Rpc, behaviour: Streaming) -> Streaming:
        """As unary; a stream is kept when it ends."""

        async def answer(data: bytes, context: Any) -> AsyncIterator[bytes]:
            with self._kept(rpc, data, context):
                async for message in behaviour(data, context):
                    yield message

        return answer

    @contextlib.contextmanager
    def _kept(self, rpc: Rpc, data: bytes, context: Any) -> Any:
        calls: list[Call] = []
        _call.set(calls)
        began, response = self.node.cloud.clock.now(), []  # type: ignore[var-annotated]
        # Now: of a call whose caller has gone away gRPC can't be asked any more.
        made = OperationLog(name=rpc.name, source=context.peer().partition(":")[2], reads=rpc.reads)
        made.client = str(dict(context.invocation_metadata() or ()).get("user-agent", ""))[:255]
        gone = False
        try:
            yield response
        except (asyncio.CancelledError, GeneratorExit):
            gone = True
            raise
        finally:
            call = calls[0] if calls else None
            made.uuid = call.context.causation_id if call else self.node.cloud.ids.new()
            made.create_date.FromMicroseconds(began)
            ended = max(self.node.cloud.clock.now(), began)
            made.finish_date.FromMicroseconds(ended)
            made.duration.FromMicroseconds(ended - began)
            _said(made, call, None if gone else context)
            answer = response[0] if response else b""
            self.log.add(lambda: (_complete(self.node, made, rpc, call, data, answer), made.account_uuid))

    # -- age and size

    async def _sweep(self) -> None:
        while True:
            await self.remove_old()
            await self.node.cloud.clock.sleep(SWEEP_SECONDS)

    async def remove_old(self) -> int:
        """By the settings of now; what was removed, and what could not be kept, is said in the log."""
        cloud = self.node.cloud
        days = int(await current(cloud, "operationLog", "retention.days"))
        keep = int(await current(cloud, "operationLog", "retention.records"))
        now = cloud.clock.now()
        removed = await asyncio.to_thread(self.log.remove, now - days * DAY, keep)
        lost, self.log.lost = self.log.lost, 0
        if removed or lost:
            made = OperationLog(uuid=cloud.ids.new(), name=REMOVED, success=True, code="OK", account_name="system")
            for date in (made.create_date, made.finish_date):
                date.FromMicroseconds(now)
            made.request = json.dumps({"removed": removed, "lost": lost, "days": days, "records": keep})
            self.log.add(lambda: (made, ""))
        return removed


def _said(made: OperationLog, call: Call | None, context: Any) -> None:
    """What is known without reading anything. context: None when the caller has gone away."""
    code = context.code() if context is not None else grpc.StatusCode.CANCELLED
    made.code = code.name if isinstance(code, grpc.StatusCode) else "OK" if not code else str(code)
    made.success = made.code == "OK"
    if context is not None and not made.success:
        made.error = str(context.details() or "")[:LONGEST]
        for key, value in context.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                made.error_reason = _reason(value)
    if call is not None:
        made.account_uuid, made.account_name = call.actor.account_uuid, call.actor.account_name
        made.session_uuid = call.actor.session_uuid
        made.reason, made.request_id = call.context.reason, call.context.request_id
        made.validate_only = call.validate_only


def _reason(data: bytes) -> str:
    for packed in status_pb2.Status.FromString(data).details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            return error_details_pb2.ErrorInfo.FromString(packed.value).reason
    return ""


def _complete(node: Any, made: OperationLog, rpc: Rpc, call: Call | None, data: bytes, answer: bytes) -> OperationLog:
    """What takes reading: request, answer, and what was written. In the log's own thread."""
    made.resource_kind = rpc.kind
    try:
        request: Any = rpc.request.FromString(data)
    except DecodeError:
        made.request = "(no valid request)"
    else:
        made.request = json.dumps(redacted(request), ensure_ascii=False)[:LONGEST]
        made.resource_uuid = getattr(request, "uuid", "") or getattr(request, "resource_uuid", "")
        if rpc.name.startswith("LogIn"):  # whoever's session the call came with
            made.account_uuid, made.session_uuid, made.account_name = "", "", getattr(request, "account_name", "")
    if answer:
        response: Any = rpc.response.FromString(answer)
        made.job_uuid = getattr(response, "job_uuid", "")
        made.resource_uuid = made.resource_uuid or getattr(getattr(response, "inventory", None), "uuid", "")
        if rpc.name.startswith("LogIn"):
            made.account_uuid, made.session_uuid = response.inventory.account_uuid, response.inventory.uuid
    if call is not None and made.success and not call.validate_only and not rpc.reads:
        written = _written(node, call.context.correlation_id, rpc.name)
        if written:
            made.events = len(written)
            made.first_position = position.encode(written[0].position)
            made.last_position = position.encode(written[-1].position)
    return made


def _written(node: Any, correlation_id: str, origin: str) -> list[Record]:
    """The events of a call: all of one append, and lately written; looked for backwards, further and further."""
    head = node.recorder.head()
    for window in (WINDOW, WINDOW * 16, WINDOW * 256):
        records = node.recorder.read_all(max(0, head - window), window)
        found = [r for r in records if r.correlation_id == correlation_id and r.origin == origin]
        if (found and found[0] is not records[0]) or head <= window:
            return found
    return found


def redacted(message: Message) -> dict[str, Any]:
    """A request as JSON values, without its secrets."""
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: FieldDescriptor, value: Any) -> Any:
    if is_secret(field):
        return HIDDEN
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): str(item) for key, item in value.items()}
    return [_single(field, item) for item in value] if field.is_repeated else _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is None:
        return field.enum_type.values_by_number[value].name if _known(field, value) else value
    if field.message_type.full_name.startswith("google.protobuf."):
        return MessageToDict(value, preserving_proto_field_name=True)
    return redacted(value)


def _known(field: FieldDescriptor, value: Any) -> bool:
    return field.enum_type is not None and value in field.enum_type.values_by_number
