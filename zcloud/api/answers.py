"""What answers each RPC, whatever brings the bytes: bind the handlers, admit, run the pipeline, keep the call."""

from __future__ import annotations

import asyncio
import importlib
import logging
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import zcloud.api
from zcloud.api import access, handlers, pipeline, reading, standard
from zcloud.api.admission import WAITING_AT_ONCE, Admission
from zcloud.api.call import Metadata, read_metadata
from zcloud.api.caller import Caller
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.api.status import abort, internal
from zcloud.api.taking import takers, taking
from zcloud.kernel.errors import Refused
from zcloud.v1 import options_pb2 as o

log = logging.getLogger(__name__)


Unary = Callable[[bytes, Caller], Awaitable[bytes]]
Streaming = Callable[[bytes, Caller], AsyncIterator[bytes]]
Taking = Callable[[AsyncIterator[bytes], Caller], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Method:
    """How one RPC is answered."""

    rpc: Rpc
    behaviour: Any


class Undeclared(Exception):
    """The server does not start: an RPC without permission, access or handler."""


def load_handlers() -> None:
    """Import every module of the API, so that handlers register themselves."""
    for info in pkgutil.walk_packages(zcloud.api.__path__, "zcloud.api."):
        importlib.import_module(info.name)


def bind(rpc: Rpc) -> tuple[str, Any]:
    """How an RPC is answered: ("command" | "query" | "stream" | "takes", handler)."""
    if not rpc.permission or rpc.access == o.ACCESS_UNSPECIFIED:
        raise Undeclared(f"{rpc.name} declares no permission or no access; see options.proto")
    if rpc.name in takers:
        return "takes", takers[rpc.name]
    for kind, table in (("command", handlers.commands), ("query", handlers.queries), ("stream", handlers.streams)):
        if rpc.name in table:
            return kind, table[rpc.name]
    reader = reading.handler_of(rpc) if rpc.reads else None
    if reader is not None:
        return "query", reader
    command = None if rpc.reads else standard.handler_of(rpc)
    if command is None:
        raise Undeclared(f"{rpc.name} has no handler, and its name stands for nothing standard")
    return "command", command


class Answers:
    """Every RPC that one door serves, by its path."""

    def __init__(self, node: Any, own: Callable[[Rpc], bool]) -> None:
        self.node = node
        self.lane, self.waiting = Admission(), Admission(WAITING_AT_ONCE)
        self.methods = {rpc.path: Method(rpc, self._behaviour(rpc)) for rpc in rpcs().values() if own(rpc)}

    def _behaviour(self, rpc: Rpc) -> Unary | Streaming | Taking:
        kind, handler = bind(rpc)
        if kind == "takes":
            return taking(self.node, rpc, handler)
        if kind == "stream":
            return self._streaming(rpc, handler)
        return self._unary(rpc, kind, handler)

    def _unary(self, rpc: Rpc, kind: str, handler: Any) -> Unary:
        node, keep = self.node, self.node.calls.keep
        lane = self.waiting if rpc.name.startswith("Wait") else self.lane
        command = kind == "command"

        async def answer(data: bytes, context: Caller) -> bytes:
            began = node.cloud.clock.now()
            source, metadata, call = _peer(context), Metadata(), None
            try:
                metadata = read_metadata(context.invocation_metadata())
                call = await pipeline.caller(node, rpc, metadata, source)
                principal = call.context.actor.account_uuid or source.rpartition(":")[0]
                lane.enter(principal)
                try:
                    access.check_rpc(rpc, call.context.actor)
                    request = pipeline.parse(rpc, data)
                    if command:
                        response, position = await pipeline.run_command(call, handler, request)
                    else:
                        pipeline.not_previewed(call)
                        found = await handler(call, request)
                        response = found if isinstance(found, bytes) else found.SerializeToString()
                        position = node.cloud.log.head
                finally:
                    lane.leave(principal)
            except Refused as refused:
                keep(rpc, began, source, metadata.client, call, data, code=refused.code.name, refused=refused)
                await abort(context, refused)
                raise AssertionError("abort ends the call") from refused
            except asyncio.CancelledError:
                keep(rpc, began, source, metadata.client, call, data, code="CANCELLED")
                raise
            except Exception:
                log.exception("%s failed", rpc.name)
                keep(rpc, began, source, metadata.client, call, data, code="INTERNAL")
                await context.abort(*internal())
                raise AssertionError("abort ends the call") from None
            keep(rpc, began, source, metadata.client, call, data, response)
            context.set_trailing_metadata(pipeline.trailing(position))
            return response

        return answer

    def _streaming(self, rpc: Rpc, handler: Any) -> Streaming:
        node, keep = self.node, self.node.calls.keep

        async def answer(data: bytes, context: Caller) -> AsyncIterator[bytes]:
            began = node.cloud.clock.now()
            source, metadata, call = _peer(context), Metadata(), None
            try:
                metadata = read_metadata(context.invocation_metadata())
                call = await pipeline.caller(node, rpc, metadata, source)
                access.check_rpc(rpc, call.context.actor)
                async for message in handler(call, pipeline.parse(rpc, data)):
                    yield message.SerializeToString()
            except Refused as refused:
                keep(rpc, began, source, metadata.client, call, data, code=refused.code.name, refused=refused)
                await abort(context, refused)
            except (asyncio.CancelledError, GeneratorExit):
                keep(rpc, began, source, metadata.client, call, data, code="CANCELLED")
                raise
            except Exception:
                log.exception("%s failed", rpc.name)
                keep(rpc, began, source, metadata.client, call, data, code="INTERNAL")
                await context.abort(*internal())
            else:
                keep(rpc, began, source, metadata.client, call, data)

        return answer


def _peer(context: Caller) -> str:
    """Address of the caller without the scheme."""
    return context.peer().partition(":")[2]
