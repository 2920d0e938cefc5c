"""Every RPC of the API as its descriptors say: names, messages, permission, access, and whether it only reads."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

import zcloud.v1
from zcloud.v1 import options_pb2


@dataclass(frozen=True)
class Rpc:
    """One RPC. kind: of the resource in its response's inventory, "" when there is none."""

    name: str
    path: str
    service: str
    request: type[Message]
    response: type[Message]
    permission: str
    access: int
    reads: bool
    streams: bool
    takes_stream: bool
    kind: str

    @property
    def verb(self) -> str:
        """The part of the permission after the colon."""
        return self.permission.partition(":")[2]


@lru_cache
def services() -> tuple[ServiceDescriptor, ...]:
    """All services of the package, found by walking it."""
    found = []
    for info in pkgutil.iter_modules(zcloud.v1.__path__):
        if info.name.endswith("_pb2"):
            module = importlib.import_module(f"zcloud.v1.{info.name}")
            found.extend(module.DESCRIPTOR.services_by_name.values())
    return tuple(found)


def _rpc(service: ServiceDescriptor, method: MethodDescriptor) -> Rpc:
    rules = method.GetOptions().Extensions[options_pb2.rpc]
    return Rpc(
        name=method.name,
        path=f"/{service.full_name}/{method.name}",
        service=service.full_name,
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        permission=rules.permission,
        access=rules.access,
        reads=method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        streams=method.server_streaming,
        takes_stream=method.client_streaming,
        kind=_kind_of(method),
    )


def _kind_of(method: MethodDescriptor) -> str:
    for name in ("inventory", "inventories"):
        field = method.output_type.fields_by_name.get(name)
        if field is not None and field.message_type is not None:
            return str(field.message_type.GetOptions().Extensions[options_pb2.resource].kind)
    return ""


@lru_cache
def rpcs() -> dict[str, Rpc]:
    """Every RPC by its name, which is unique in the package."""

    def each() -> Iterator[Rpc]:
        for service in services():
            for method in service.methods:
                yield _rpc(service, method)

    return {rpc.name: rpc for rpc in each()}


def of_the_api(rpc: Rpc) -> bool:
    """Whether it is for people and programs, and not for agents."""
    return rpc.access != options_pb2.ACCESS_AGENT and rpc.name != "Enroll"
