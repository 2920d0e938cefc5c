"""Get and Query of every kind: from the read models, which hold all that was answered before the call."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from google.protobuf.internal.encoder import TagBytes, _VarintBytes
from google.protobuf.internal.wire_format import WIRETYPE_LENGTH_DELIMITED
from google.protobuf.message import Message
from sqlalchemy import Connection

from projections.query.errors import QueryError
from projections.query.group import Groups, group
from projections.query.query import Page, run
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import Query
from zcloud.api.rpcs import Rpc
from zcloud.api.then import Moment, moment_of
from zcloud.kernel.errors import Code, Reason, Refused, not_found

T = TypeVar("T")


def handler_of(rpc: Rpc) -> Query | None:
    """The standard handler of Get<Noun> and Query<Noun>."""
    if rpc.name.startswith("Get") and rpc.kind and "uuid" in rpc.request.DESCRIPTOR.fields_by_name:
        return read_one
    if rpc.name.startswith("Query") and rpc.kind:
        return read_many
    return None


async def fetch(call: Call, kind: str, uuid: str, moment: Moment | None = None) -> bytes:
    """The message of one resource, as far as the caller may see it, now or at a moment; raises NOT_FOUND."""
    node = call.node
    if moment is not None:
        found = await node.past.get(kind, uuid, moment.position, call.viewer)
        document = None if found is None else found.SerializeToString()
    else:
        await node.cloud.log.newest()
        document = await node.current.get(kind, uuid, call.viewer)
    if document is None:
        raise not_found(kind, uuid)
    return document


async def read_one(call: Call, request: Any) -> bytes:
    """Get<Noun>: the response is the resource as field `inventory`, and need not be parsed to be sent."""
    rules.check(request)
    document = await fetch(call, call.rpc.kind, request.uuid, await moment_of(call, request))
    return _head(call.rpc.response, "inventory") + _VarintBytes(len(document)) + document


@cache
def _head(response: type[Message], field: str) -> bytes:
    return TagBytes(response.DESCRIPTOR.fields_by_name[field].number, WIRETYPE_LENGTH_DELIMITED)


async def read_many(call: Call, request: Any) -> Message | bytes:
    """Query<Noun>: without a mask the documents go out as they are stored."""
    rules.check(request)
    if request.group_by or request.sums:
        return await read_groups(call, request)
    node = call.node
    moment = await moment_of(call, request)

    def ask(connection: Connection) -> Page:
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
            now=moment.time if moment is not None else node.cloud.clock.now(),
        )

    page = await answer(call, call.rpc.kind, request.filter, moment, ask)
    response = call.rpc.response(next_page_token=page.next_page_token, total=page.total or 0)
    if page.mask is None:
        head = _head(call.rpc.response, "inventories")
        listed = b"".join(head + _VarintBytes(len(document)) + document for document in page.documents)
        return listed + response.SerializeToString()
    response.inventories.extend(page.messages)  # type: ignore[attr-defined]
    return response


async def read_groups(call: Call, request: Any) -> Message:
    """Query<Noun> with group_by."""
    for name in ("order_by", "read_mask"):
        if name in {field.name for field, _ in request.ListFields()}:
            raise refusal_of(QueryError(name, f"{name} is for resources; groups come in the order of group_by"))
    if not request.group_by:
        raise refusal_of(QueryError("sums", "sums are made of groups; say with group_by of which"))
    node = call.node
    moment = await moment_of(call, request)

    def ask(connection: Connection) -> Groups:
        return group(
            connection,
            node.models[call.rpc.kind],
            node.models,
            filter=request.filter,
            group_by=request.group_by,
            sums=request.sums,
            page_size=request.page_size,
            page_token=request.page_token,
            count=request.count,
            viewer=call.viewer,
            now=moment.time if moment is not None else node.cloud.clock.now(),
        )

    page = await answer(call, call.rpc.kind, request.filter, moment, ask)
    response = call.rpc.response(next_page_token=page.next_page_token, total=page.total or 0)
    for found in page.groups:
        made = response.groups.add(count=found.count)  # type: ignore[attr-defined]
        made.key.update(found.key)
        for name, value in found.sums.items():
            made.sums.add(field=name, **{"number" if isinstance(value, float) else "value": value})
    return response


async def answer(call: Call, kind: str, filter: str, moment: Moment | None, ask: Callable[[Connection], T]) -> T:
    """Ask the read models of the kind and of those that the filter walks, of now or of a moment."""
    node = call.node
    try:
        if moment is not None:
            return await node.past.ask(kind, filter, moment.position, call.viewer, ask)

        def read() -> T:
            with node.readers.connect() as connection:
                return ask(connection)

        return await node.follower.read(read)
    except QueryError as error:
        raise refusal_of(error) from error


def refusal_of(error: QueryError) -> Refused:
    """A wrong filter, order or page token names its field."""
    reason = Reason.INVALID_PAGE_TOKEN if error.argument == "page_token" else Reason.INVALID_FILTER
    fields = [(error.argument, error.message)]
    return Refused(Code.INVALID_ARGUMENT, reason, error.message, fields=fields, field=error.argument)
