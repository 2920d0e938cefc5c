"""gRPC in front of the pipeline: generic handlers for every RPC of the descriptors, health and reflection.

Transport is kept thin: bytes in, bytes out, so that it can be changed.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import zcloud.api
from zcloud.api import access, handlers, pipeline, reading, standard
from zcloud.api.admission import WAITING_AT_ONCE, Admission
from zcloud.api.call import Metadata, read_metadata
from zcloud.api.rpcs import Rpc, rpcs, services
from zcloud.api.status import abort, internal
from zcloud.api.taking import takers, taking
from zcloud.kernel.errors import Refused
from zcloud.v1 import options_pb2 as o

log = logging.getLogger(__name__)
OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 32 << 20),
    ("grpc.max_metadata_size", 32 << 10),
    # Bursts are taken in, and answered or turned away with reasons (admission.py), not reset.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
Behaviour = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


class NoDoor(OSError):
    """The node cannot listen where it was told to."""


def ports(node: Any) -> tuple[str, int]:
    """Only where it is meant: a second server on the same port gets some of the calls, and nobody is told."""
    return ("grpc.so_reuseport", int(node.share_ports))


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Open a door; gives the port. Raises NoDoor."""
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        text = f"cannot listen on {address}: something listens there already, or this machine has no such address"
        raise NoDoor(text) from None


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


class _Methods(grpc.GenericRpcHandler):
    """All methods by their path: gRPC asks one handler a service, in turn, for each call."""

    def __init__(self, methods: dict[str, grpc.RpcMethodHandler]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._methods.get(details.method)


class Server:
    """One listening address with every RPC that this door serves."""

    def __init__(self, node: Any, own: Callable[[Rpc], bool] = lambda rpc: rpc.access != o.ACCESS_AGENT) -> None:
        self.node = node
        self.server = grpc.aio.server(options=(*OPTIONS, ports(node)))
        self.health = health.aio.HealthServicer()
        self._lane, self._waiting = Admission(), Admission(WAITING_AT_ONCE)
        methods = {rpc.path: self._method(rpc) for rpc in rpcs().values() if own(rpc)}
        served = {rpc.service for rpc in rpcs().values() if own(rpc)}
        names = [service.full_name for service in services() if service.full_name in served]
        self.server.add_generic_rpc_handlers((_Methods(methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.names = (*names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        _add_reflection(self.names, self.server)

    def _method(self, rpc: Rpc) -> grpc.RpcMethodHandler:
        kind, handler = bind(rpc)
        if kind == "takes":
            return grpc.stream_unary_rpc_method_handler(taking(self.node, rpc, handler))
        if kind == "stream":
            return grpc.unary_stream_rpc_method_handler(self._streaming(rpc, handler))
        return grpc.unary_unary_rpc_method_handler(self._unary(rpc, kind, handler))

    async def start(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen; gives the port."""
        port = listen(self.server, address, credentials)
        await self.server.start()
        for name in ("", *self.names):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return port

    @property
    def under_way(self) -> int:
        """Calls that are being answered, without those that wait for something to happen."""
        return self._lane.total

    async def stop(self, grace: float = 2.0) -> None:
        """Answer what is being answered, then close."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(grace)

    # -- calls

    def _unary(self, rpc: Rpc, kind: str, handler: Any) -> Behaviour:
        node, keep = self.node, self.node.calls.keep
        lane = self._waiting if rpc.name.startswith("Wait") else self._lane
        command = kind == "command"

        async def answer(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
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

    def _streaming(self, rpc: Rpc, handler: Any) -> Callable[..., AsyncIterator[bytes]]:
        node, keep = self.node, self.node.calls.keep

        async def answer(data: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
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
            except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
                keep(rpc, began, source, metadata.client, call, data, code="CANCELLED")
                raise
            except Exception:
                log.exception("%s failed", rpc.name)
                keep(rpc, began, source, metadata.client, call, data, code="INTERNAL")
                await context.abort(*internal())
            else:
                keep(rpc, began, source, metadata.client, call, data)

        return answer


def _peer(context: grpc.aio.ServicerContext) -> str:
    """Address of the caller without the scheme."""
    return context.peer().partition(":")[2]


def _add_reflection(names: tuple[str, ...], server: grpc.aio.Server) -> None:
    """Reflection v1alpha by the library, and v1, which has the same messages under another name."""
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(service_names=names)
    from grpc_reflection.v1alpha import reflection_pb2

    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler}
            ),
        )
    )
