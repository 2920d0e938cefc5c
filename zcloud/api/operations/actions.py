"""Actions: RPCs that are called for somebody who is not there, by the same pipeline and under their rights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from projections.schema.values import has_secret
from zcloud.api import access, pipeline, rules
from zcloud.api.call import Call
from zcloud.api.handlers import Command
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.domain.identity.account import ADMIN_UUID, Account
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Code, Reason, Refused, invalid
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.order import Answer, Order
from zcloud.v1 import options_pb2 as o

CLIENT = "scheduler"
# What carries jobs out is no action: a job that runs itself would never end.
OWN_KINDS = ("scheduler", "scheduler_job", "scheduler_occurrence")


@dataclass(frozen=True)
class Action:
    """An RPC, and the field of its request that names what it acts on, with the kind of that."""

    rpc: Rpc
    field: str
    kind: str

    def request(self, target: str, arguments: str, name: str = "") -> Message:
        """The request for one target; raises INVALID_ARGUMENT. name: for what is made, where none is given."""
        request = self.rpc.request()
        fields = self.rpc.request.DESCRIPTOR.fields_by_name
        given = parsed(arguments)
        if self.field in given:
            raise invalid("arguments", arguments, f"must not have {self.field}: that is where the target goes")
        try:
            ParseDict(given, request)
        except (ParseError, TypeError, ValueError) as error:
            text = f"must be fields of {self.rpc.request.DESCRIPTOR.name} as JSON; {error}"
            raise invalid("arguments", arguments, text[:500]) from None
        setattr(request, self.field, target)
        if name and "name" not in given and "name" in fields and _rules(self.rpc, "name").required:
            request.name = name  # type: ignore[attr-defined]
        return request


def parsed(arguments: str) -> dict[str, Any]:
    """The JSON object, an empty one for an empty text; raises INVALID_ARGUMENT."""
    if not arguments.strip():
        return {}
    try:
        found = json.loads(arguments)
    except ValueError as error:
        raise invalid("arguments", arguments, f'must be JSON such as {{"type": "COLD"}}; {error}') from None
    if not isinstance(found, dict):
        raise invalid("arguments", arguments, 'must be a JSON object such as {"type": "COLD"}')
    return found


def action_of(name: str, field: str = "") -> Action:
    """The action of that name; raises INVALID_ARGUMENT for what is none."""
    rpc = rpcs().get(name)
    if rpc is None or rpc.streams or rpc.takes_stream:
        raise invalid("action", name, "must be the name of an RPC that changes a resource, such as StopVmInstance")
    if rpc.reads or rpc.access not in (o.ACCESS_ACCOUNT, o.ACCESS_ADMIN) or not rpc.kind or rpc.kind in OWN_KINDS:
        raise invalid("action", name, "must be an RPC that changes a resource, such as StopVmInstance; this does not")
    if has_secret(rpc.request.DESCRIPTOR):
        raise invalid("action", name, "must not take a secret: a job would have to keep it")
    found = {f.name: kind for f in rpc.request.DESCRIPTOR.fields if (kind := _names(f))}
    if field and field not in found:
        raise invalid("target_field", field, f"must be a field of {name} that names a resource: {', '.join(found)}")
    if not field:
        required = [f for f in found if _rules(rpc, f).required]
        field = "uuid" if "uuid" in found else required[0] if len(required) == 1 else next(iter(found), "")
        if len(required) > 1 and field != "uuid":
            raise invalid("target_field", "", f"must say which field of {name} names the target: {', '.join(required)}")
    if not field:
        raise invalid("action", name, "must act on a resource; no field of its request names one")
    return Action(rpc, field, found[field])


def _rules(rpc: Rpc, field: str) -> Any:
    return rpc.request.DESCRIPTOR.fields_by_name[field].GetOptions().Extensions[o.rules]


def _names(field: FieldDescriptor) -> str:
    return "" if field.is_repeated else str(field.GetOptions().Extensions[o.rules].references)


async def actor_again(cloud: Cloud, made_by: Actor, source: str) -> Actor:
    """Who made the job, with the rights that they have now; raises PERMISSION_DENIED when they are gone."""
    account = await cloud.load(made_by.account_uuid)
    if not isinstance(account, Account) or not account.exists:
        raise Refused(Code.PERMISSION_DENIED, Reason.NOT_ALLOWED, "the account that made the job is gone")
    return Actor(account.uuid, account.name, "", source, account.uuid == ADMIN_UUID)


async def check(call: Call, unit: Unit, action: Action, target: str, arguments: str) -> None:
    """Whether the caller may do this to the target, as far as that can be said without doing it."""
    access.check_rpc(action.rpc, call.actor)
    request = action.request(target, arguments, "name")
    try:
        rules.check(request)
    except Refused as refused:
        raise invalid("arguments", arguments, f"must be right for {action.rpc.name}: {refused.message}") from None
    await pipeline.check_references(Call(call.node, action.rpc, call.context), unit, request)


class Actions:
    """The port "actions" of the kernel's units."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def knows(self, name: str) -> bool:
        """Whether there is such an RPC."""
        return name in rpcs()

    async def act(self, order: Order) -> None:
        """Call it. What the order's owner writes down of it is in the append of the call itself, or nothing is.

        Raises Refused as the call does.
        """
        action = action_of(order.action, order.field)
        request = action.request(order.target, order.arguments, order.name)
        began, cloud = self._node.cloud.clock.now(), self._node.cloud
        actor = await actor_again(cloud, order.made_by, order.source)
        context = Context(
            actor=actor,
            origin=action.rpc.name,
            request_id=order.request_id,
            reason=order.reason,
            causation_id=cloud.ids.new(),
            correlation_id=order.cause,
        )
        call = Call(self._node, action.rpc, context)
        keep = partial(self._keep, action.rpc, began, order.source, CLIENT, call, request.SerializeToString())
        try:
            access.check_rpc(action.rpc, actor)
            answer, _ = await pipeline.run_command(call, _beside(order, action), request)
        except Refused as refused:
            keep(b"", refused.code.name, refused)
            raise
        keep(answer)

    def _keep(self, *told: Any) -> None:
        """In the log of calls, as if it had come through the door."""
        calls = getattr(self._node, "calls", None)
        if calls is not None:
            calls.keep(*told)


def _beside(order: Order, action: Action) -> Command:
    from zcloud.api.answers import bind

    _, inner = bind(action.rpc)

    async def handler(call: Call, unit: Unit, request: Any) -> Message:
        value = await inner(call, unit, request)
        response = value if isinstance(value, Message) else await pipeline.respond(call, unit, value)
        made = getattr(getattr(response, "inventory", None), "uuid", "")
        await order.answered(
            unit,
            Answer(
                job_uuid=str(getattr(response, "job_uuid", "")),
                made_uuid="" if made == order.target else made,
                made_kind="" if made == order.target else action.rpc.kind,
            ),
        )
        return response

    return handler
