"""gRPC in front of the answers: generic handlers for every RPC of the descriptors, health and reflection.

Transport is kept thin: bytes in, bytes out, so that it can be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from zcloud.api.answers import Answers
from zcloud.api.rpcs import Rpc, of_the_api, rpcs, services

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


NO_DOOR = "cannot listen on {}: something listens there already, or this machine has no such address"


class NoDoor(OSError):
    """The node cannot listen where it was told to."""


def shared(share: bool) -> tuple[str, int]:
    """Only where it is meant: a second server on the same port gets some of the calls, and nobody is told."""
    return ("grpc.so_reuseport", int(share))


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Open a door; gives the port. Raises NoDoor."""
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise NoDoor(NO_DOOR.format(address)) from None


class _Methods(grpc.GenericRpcHandler):
    """All methods by their path: gRPC asks one handler a service, in turn, for each call."""

    def __init__(self, methods: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._methods.get(details.method)


class GrpcDoor:
    """One listening address: handlers by their paths, health and reflection."""

    def __init__(self, methods: Mapping[str, grpc.RpcMethodHandler], services: Sequence[str], share: bool) -> None:
        self.server = grpc.aio.server(options=(*OPTIONS, shared(share)))
        self.health = health.aio.HealthServicer()
        self.server.add_generic_rpc_handlers((_Methods(methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        _add_reflection(self.names, self.server)

    async def start(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen; gives the port. Raises NoDoor."""
        port = listen(self.server, address, credentials)
        await self.server.start()
        for name in ("", *self.names):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def stop(self, grace: float = 2.0) -> None:
        """Answer what is being answered, then close."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(grace)


class Server(GrpcDoor):
    """The RPCs of a node at one address, answered by the process that listens."""

    def __init__(self, node: Any, own: Callable[[Rpc], bool] = of_the_api) -> None:
        self.answers = Answers(node, own)
        methods = {path: handler(method.rpc, method.behaviour) for path, method in self.answers.methods.items()}
        super().__init__(methods, service_names(own), node.share_ports)

    @property
    def under_way(self) -> int:
        """Calls that are being answered, without those that wait for something to happen."""
        return self.answers.lane.total


def handler(rpc: Rpc, behaviour: Any) -> grpc.RpcMethodHandler:
    """For gRPC: bytes in, bytes out."""
    if rpc.takes_stream:
        return grpc.stream_unary_rpc_method_handler(behaviour)
    if rpc.streams:
        return grpc.unary_stream_rpc_method_handler(behaviour)
    return grpc.unary_unary_rpc_method_handler(behaviour)


def service_names(own: Callable[[Rpc], bool]) -> list[str]:
    """Of all services that have an RPC of this door, in the order of their files."""
    served = {rpc.service for rpc in rpcs().values() if own(rpc)}
    return [service.full_name for service in services() if service.full_name in served]


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
