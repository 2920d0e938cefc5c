"""The way of every call: session, access, rules, request id, decision or query, answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from projections.render import plain, render
from projections.schema.values import has_secret
from zcloud.api import access, moments, position, rules
from zcloud.api.call import Call, Metadata
from zcloud.api.handlers import Command
from zcloud.api.rpcs import Rpc
from zcloud.kernel import event as events
from zcloud.kernel.aggregate import by_kind, companions_of
from zcloud.kernel.cloud import Decision
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Code, Reason, Refused, invalid, not_found, precondition
from zcloud.kernel.job import JobQueue
from zcloud.kernel.log import RequestTaken
from zcloud.kernel.record import Record, RequestRecord
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import PREFIX as SEALED
from zcloud.v1.common_pb2 import PlannedQuota

log = logging.getLogger(__name__)


def parse(rpc: Rpc, data: bytes) -> Message:
    """The request; what is no message at all is the caller's mistake."""
    try:
        return rpc.request.FromString(data)
    except DecodeError as error:
        text = f"the request is not a valid {rpc.request.DESCRIPTOR.full_name}; texts must be UTF-8"
        raise Refused(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, text) from error


async def begin(node: Any, rpc: Rpc, metadata: Metadata, source: str) -> Call:
    """Who calls, and whether they may."""
    call = await caller(node, rpc, metadata, source)
    access.check_rpc(rpc, call.actor)
    return call


async def caller(node: Any, rpc: Rpc, metadata: Metadata, source: str) -> Call:
    """Who calls; raises UNAUTHENTICATED."""
    actor = await access.actor_of(node.cloud, metadata.token, source)
    call_id = node.cloud.ids.new()
    context = Context(
        actor=actor,
        origin=rpc.name,
        request_id=metadata.request_id,
        reason=metadata.reason,
        causation_id=call_id,
        correlation_id=call_id,
    )
    return Call(node, rpc, context, metadata.validate_only, metadata.if_version, metadata.token)


def not_previewed(call: Call) -> None:
    """What is no decision acts at once, and must not where nothing is to be changed."""
    if call.validate_only and not call.rpc.reads:
        text = f"{call.rpc.name} can't be previewed; leave it out"
        raise invalid("zcloud-validate-only", "true", text, Reason.INVALID_METADATA)


async def run_command(call: Call, handler: Command, request: Message) -> tuple[bytes, int]:
    """Decide, and answer when it is durable; a request id that was seen gets its first answer."""
    rules.check(request)
    if not call.context.request_id:
        return await _decide(call, handler, request)
    # A second call with the same id, while the first is under way, would be refused for what the first has made.
    under_way, key = call.node.requests, (call.context.actor.account_uuid, call.context.request_id)
    while (waiting := under_way.get(key)) is not None:
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        await turn
    under_way[key] = []
    try:
        return await _decide(call, handler, request)
    finally:
        for turn in under_way.pop(key):
            if not turn.done():
                turn.set_result(None)


async def _decide(call: Call, handler: Command, request: Message, *, again: bool = False) -> tuple[bytes, int]:
    body_hash = b""
    if call.context.request_id:
        told = call.rpc.name.encode() + b"\0" + request.SerializeToString(deterministic=True)
        body_hash = call.node.vault.digest(told)

    async def body(unit: Unit) -> Message:
        await check_references(call, unit, request)
        value = await _explain(call, unit, request, handler)
        return value if isinstance(value, Message) else await respond(call, unit, value)

    def answer(unit: Unit, response: Message) -> RequestRecord | None:
        if not call.context.request_id:
            return None
        return RequestRecord(
            call.actor.account_uuid,
            call.context.request_id,
            call.rpc.name,
            body_hash,
            _keep(call, response),
            unit.now,
        )

    try:
        decision = await call.node.cloud.decide(call.context, body, dry_run=call.validate_only, answer=answer)
    except (RequestTaken, Refused) as error:
        # A retry is rare, and looked for only where it shows: the id is taken, or what the first made is in the way.
        first = _first_answer(call, body_hash) if call.context.request_id and not call.validate_only else None
        if first is None and isinstance(error, Refused) and not again and await _was_behind(call.node):
            return await _decide(call, handler, request, again=True)
        if first is None:
            raise
        return first
    if call.validate_only:
        _fill_plan(decision)
    elif decision.records:
        moments.move(decision.value, decision.decided, decision.records[0].time)
        call.records = decision.records
    return decision.value.SerializeToString(), decision.position


async def _was_behind(node: Any) -> bool:
    """Whether other nodes had written what this one did not know yet: a refusal for what has changed would be wrong."""
    log_ = node.cloud.log
    before = log_.head
    return log_.together() and await log_.newest() != before


def _first_answer(call: Call, body_hash: bytes) -> tuple[bytes, int] | None:
    found = call.node.recorder.find_request(call.actor.account_uuid, call.context.request_id)
    if found is None:
        return None
    if found.body_hash != body_hash:
        raise Refused(
            Code.ALREADY_EXISTS,
            Reason.REQUEST_REUSED,
            f'zcloud-request "{call.context.request_id}" was used before for another {found.rpc}; use a new one',
            request_id=call.context.request_id,
        )
    return _as_written(call, found, _kept(call, found.response)), found.position


def _as_written(call: Call, found: RequestRecord, data: bytes) -> bytes:
    """An answer is remembered as it was decided; it was given with the time of what was written."""
    for record in call.node.recorder.read_positions([found.position]):
        if record.request_id == found.request_id and record.time != found.time:
            response = call.rpc.response.FromString(data)
            moments.move(response, found.time, record.time)
            return response.SerializeToString()
    return data


def _keep(call: Call, response: Message) -> bytes:
    """The answer as it is remembered: sealed when it holds a secret."""
    data = response.SerializeToString()
    if not has_secret(response.DESCRIPTOR):
        return data
    sealed: str = call.node.vault.seal(data.hex())
    return sealed.encode()


def _kept(call: Call, data: bytes) -> bytes:
    if not data.startswith(SEALED.encode()):  # which no message begins with
        return data
    return bytes.fromhex(call.node.vault.open(data.decode()))


async def check_references(call: Call, unit: Unit, request: Message) -> None:
    """Everything that the request names exists, is visible, and (the thing to change) is the caller's own."""
    for path, kind, uuid in rules.references(request):
        cls = by_kind(kind)
        assert issubclass(cls, Resource)
        if path == "uuid":
            found = await unit.find(cls, uuid)
            if found is None:
                raise not_found(kind, uuid)
            access.must_own(call.actor, found, kind)
            if call.if_version is not None and found.version != call.if_version:
                raise Refused(
                    Code.ABORTED,
                    Reason.VERSION_MOVED,
                    f'{kind} "{found.name}" is at version {found.version}, not {call.if_version}; read it again',
                    version=found.version,
                )
        else:
            named = await unit.find(cls, uuid)
            # An account is named by whoever shares with it, which takes no more than knowing its uuid.
            if named is None or not (kind == "account" or access.may_see(call.actor, named)):
                await _must_not_be_relative(call, unit, path, cls, uuid)
                raise not_found(kind, uuid)
            if not call.rpc.verb.startswith(("detach", "remove")):
                await unit.usable(cls, uuid)


async def _must_not_be_relative(call: Call, unit: Unit, path: str, cls: type[Resource], uuid: str) -> None:
    """What the caller sees, and is of another kind of the same family, is there: it only cannot do this."""
    other = await unit.find(Resource, uuid)  # type: ignore[type-abstract]
    if other is not None and set(other.kinds) & set(cls.kinds) and access.may_see(call.actor, other):
        text = f'{path} is "{other.name}", of kind {other.kind}; {call.rpc.name} takes {cls.kind} only'
        raise precondition(Reason.NOT_SUPPORTED, text, **{path: uuid})


async def _explain(call: Call, unit: Unit, request: Message, handler: Command) -> Any:
    """Run the handler; a refusal for the state names the job that is at work, if one is."""
    try:
        return await handler(call, unit, request)
    except Refused as refused:
        uuid = getattr(request, "uuid", "")
        if refused.code is Code.FAILED_PRECONDITION and uuid and "job_uuid" not in refused.facts:
            # As it was before: what the refused call would have ordered is not at work.
            before = Unit(unit.cloud, unit.context, unit.now)
            resource = await before.last(Resource, uuid)
            queue = await before.companion(JobQueue, resource) if resource is not None else None
            if queue is not None and queue.jobs:
                refused.facts["job_uuid"] = queue.jobs[0]
                refused.message += f" (job {queue.jobs[0]} is at work on it)"
        raise


async def inventory(unit: Unit, message_type: type[Message], resource: Resource) -> Message:
    """The resource as the unit leaves it, with the facts beside it."""
    beside = [await unit.companion(cls, resource) for cls in companions_of(resource.kinds)]
    return render(message_type, resource, *beside)


async def respond(call: Call, unit: Unit, value: Resource | None) -> Message:
    """The standard response: inventory, and the job where hosts must act."""
    response = call.rpc.response()
    fields = response.DESCRIPTOR.fields_by_name
    if value is not None and "inventory" in fields:
        made = await inventory(unit, fields["inventory"].message_type._concrete_class, value)
        response.inventory.CopyFrom(made)  # type: ignore[attr-defined]
    if "job_uuid" in fields:
        response.job_uuid = unit.job_uuid  # type: ignore[attr-defined]
    if call.validate_only and unit.detail is not None and "plan" in fields:
        plan = response.plan  # type: ignore[attr-defined]
        plan.placement.CopyFrom(render(type(plan.placement), unit.detail))
    return response


def _fill_plan(decision: Decision) -> None:
    response = decision.value
    if "plan" not in response.DESCRIPTOR.fields_by_name:
        return
    if "job_uuid" in response.DESCRIPTOR.fields_by_name:
        response.job_uuid = ""
    for record in decision.records:
        planned = response.plan.events.add(
            type=record.topic, resource_kind=record.kind, resource_uuid=record.resource_uuid
        )
        ParseDict(data_of(record), planned.data)
    for found in decision.followed:
        response.plan.quotas.append(render(PlannedQuota, found))


def data_of(record: Record) -> dict[str, Any]:
    """An event's fields as callers may see them: sealed secrets and hashes left out."""
    data: dict[str, Any] = plain(events.decode(record.topic, record.schema, record.state))
    return redact(data)


def redact(data: dict[str, Any]) -> dict[str, Any]:
    """Secrets by their form and by their name, however deep they lie."""
    return {name: "***" if name.endswith("_hash") else _redacted(value) for name, value in data.items()}


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [_redacted(item) for item in value]
    return "***" if isinstance(value, str) and value.startswith("sealed:") else value


def trailing(log_position: int) -> tuple[tuple[str, str], ...]:
    """What every answer carries."""
    return (("zcloud-position", position.encode(log_position)),)
