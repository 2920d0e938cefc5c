"""Get and Query of every kind: from the read models, which hold all that was answered before the call."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.message import Message

from projections.query.errors import QueryError
from projections.query.query import get, run
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import Query
from zcloud.api.rpcs import Rpc
from zcloud.kernel.errors import Code, Reason, Refused, not_found


def handler_of(rpc: Rpc) -> Query | None:
    """The standard handler of Get<Noun> and Query<Noun>."""
    if rpc.name.startswith("Get") and rpc.kind and "uuid" in rpc.request.DESCRIPTOR.fields_by_name:
        return read_one
    if rpc.name.startswith("Query") and rpc.kind:
        return read_many
    return None


async def fetch(call: Call, kind: str, uuid: str) -> Message:
    """One resource by uuid, as far as the caller may see it; raises NOT_FOUND."""
    node = call.node
    await node.follower.reached(node.cloud.log.head)

    def read() -> Message | None:
        with node.engine.connect() as connection:
            return get(connection, node.models[kind], uuid, call.viewer)

    found = await asyncio.to_thread(read)
    if found is None:
        raise not_found(kind, uuid)
    return found


async def read_one(call: Call, request: Any) -> Message:
    """Get<Noun>."""
    rules.check(request)
    response = call.rpc.response()
    response.inventory.CopyFrom(await fetch(call, call.rpc.kind, request.uuid))  # type: ignore[attr-defined]
    return response


async def read_many(call: Call, request: Any) -> Message:
    """Query<Noun>."""
    rules.check(request)
    node = call.node
    await node.follower.reached(node.cloud.log.head)

    def read() -> Any:
        with node.engine.connect() as connection:
            return run(
                connection,
                node.models[call.rpc.kind],
                node.models,
                filter=request.filter,
                order_by=request.order_by,
                page_size=request.page_size,
                page_token=request.page_token,
                read_mask=request.read_mask if request.HasField("read_mask") else None,
                count=request.count,
                viewer=call.viewer,
            )

    try:
        page = await asyncio.to_thread(read)
    except QueryError as error:
        raise refusal_of(error) from error
    response = call.rpc.response(next_page_token=page.next_page_token, total=page.total or 0)
    response.inventories.extend(page.messages)  # type: ignore[attr-defined]
    return response


def refusal_of(error: QueryError) -> Refused:
    """A wrong filter, order or page token names its field."""
    reason = Reason.INVALID_PAGE_TOKEN if error.argument == "page_token" else Reason.INVALID_FILTER
    fields = [(error.argument, error.message)]
    return Refused(Code.INVALID_ARGUMENT, reason, error.message, fields=fields, field=error.argument)
