"""RPCs that take a stream of messages and give one answer: an upload."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from zcloud.api import access, pipeline
from zcloud.api.call import Call, Metadata, read_metadata
from zcloud.api.caller import Caller
from zcloud.api.rpcs import Rpc
from zcloud.api.status import abort, internal
from zcloud.kernel.errors import Code, Reason, Refused

log = logging.getLogger(__name__)
# Streams of one account at a time: each holds a connection to a storage.
AT_ONCE = 8
# Seconds without a message until a stream is ended; what came is kept.
IDLE_SECONDS = 60.0
DRAIN_SECONDS = 0.5

Taker = Callable[[Call, AsyncIterator[Any]], Awaitable[Message]]
takers: dict[str, Taker] = {}


def takes(rpc: str) -> Callable[[Taker], Taker]:
    """The decorated coroutine answers an RPC that takes a stream: async def f(call, requests) -> response."""

    def register(function: Taker) -> Taker:
        takers[rpc] = function
        return function

    return register


async def _parsed(rpc: Rpc, data: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    iterator = aiter(data)
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                yield pipeline.parse(rpc, await anext(iterator))
        except StopAsyncIteration:
            return
        except TimeoutError:
            text = f"no message for {IDLE_SECONDS:.0f} s; what came is kept, go on from there"
            raise Refused(Code.DEADLINE_EXCEEDED, Reason.SLOW_WRITER, text) from None


async def _drain(data: AsyncIterator[bytes]) -> None:
    """Who is still sending may hear of a broken stream instead of the refusal: what is under way is let come in."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in data:
                pass


def taking(node: Any, rpc: Rpc, handler: Taker) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
    """The behaviour for gRPC. The call log is told of the call without its messages."""
    under_way: dict[str, int] = {}

    async def answer(data: AsyncIterator[bytes], context: Caller) -> bytes:
        began, source = node.cloud.clock.now(), context.peer().partition(":")[2]
        metadata, call, principal = Metadata(), None, ""

        def keep(code: str = "OK", response: bytes = b"", refused: Refused | None = None) -> None:
            node.calls.keep(rpc, began, source, metadata.client, call, b"", response, code, refused)

        try:
            metadata = read_metadata(context.invocation_metadata())
            call = await pipeline.caller(node, rpc, metadata, source)
            access.check_rpc(rpc, call.context.actor)
            pipeline.not_previewed(call)
            account = call.context.actor.account_uuid
            if under_way.get(account, 0) >= AT_ONCE:
                text = f"{AT_ONCE} streams of the account are under way; wait for one of them to end"
                raise Refused(Code.RESOURCE_EXHAUSTED, Reason.TOO_MANY_REQUESTS, text, limit=AT_ONCE)
            principal = account
            under_way[account] = under_way.get(account, 0) + 1
            response = (await handler(call, _parsed(rpc, data))).SerializeToString()
        except Refused as refused:
            keep(refused.code.name, refused=refused)
            await _drain(data)
            await abort(context, refused)
            raise AssertionError("abort ends the call") from refused
        except asyncio.CancelledError:
            keep("CANCELLED")
            raise
        except Exception:
            log.exception("%s failed", rpc.name)
            keep("INTERNAL")
            await context.abort(*internal())
            raise AssertionError("abort ends the call") from None
        finally:
            if principal:
                under_way[principal] -= 1
        keep(response=response)
        context.set_trailing_metadata(pipeline.trailing(node.cloud.log.head))
        return response

    return answer
