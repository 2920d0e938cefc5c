"""The catalog: every RPC of the API, found by walking the generated package; nothing is listed by hand."""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

import zcloud.v1
from zcloud.cli.errors import unknown
from zcloud.cli.files import cache_directory, write_private

_NO_SIDE_EFFECTS = 1  # google.protobuf.MethodOptions.IdempotencyLevel


@dataclass(frozen=True)
class Rpc:
    """One RPC with what its descriptor says of it."""

    name: str
    method: MethodDescriptor

    @property
    def path(self) -> str:
        """The path by which gRPC calls it."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def mutating(self) -> bool:
        """Whether a call may change something."""
        return self.method.GetOptions().idempotency_level != _NO_SIDE_EFFECTS

    @property
    def rules(self) -> Any:
        """The RpcRules of options.proto: permission and access."""
        options = importlib.import_module("zcloud.v1.options_pb2")
        return self.method.GetOptions().Extensions[options.rpc]

    @property
    def access(self) -> str:
        """Who may call it: public, account, admin or agent."""
        access = self.rules.DESCRIPTOR.fields_by_name["access"].enum_type
        return str(access.values_by_number[self.rules.access].name.removeprefix("ACCESS_").lower())

    @property
    def queries(self) -> bool:
        """Whether it takes a filter, and so conditions."""
        return not self.mutating and "filter" in self.method.input_type.fields_by_name

    def new_request(self) -> Message:
        """An empty request."""
        return message_factory.GetMessageClass(self.method.input_type)()

    @property
    def response_class(self) -> type[Message]:
        """The class of the response."""
        return message_factory.GetMessageClass(self.method.output_type)


def rules_of(field: FieldDescriptor) -> Any:
    """The FieldRules of options.proto."""
    return field.GetOptions().Extensions[importlib.import_module("zcloud.v1.options_pb2").rules]


def resource_of(message: Descriptor) -> Any:
    """The ResourceRules of options.proto."""
    return message.GetOptions().Extensions[importlib.import_module("zcloud.v1.options_pb2").resource]


def names() -> list[str]:
    """The name of every RPC."""
    return sorted(_index())


def find(name: str) -> Rpc:
    """The RPC of that name; UsageError with the nearest names when there is none."""
    module = _index().get(name)
    if module is None:
        raise unknown("RPC or command", name, [*_index(), *COMMANDS], "`zcloud list` names them all.")
    return _rpcs_of(importlib.import_module(f"zcloud.v1.{module}"))[name]


def get(name: str) -> Rpc | None:
    """The RPC of that name, or None."""
    return find(name) if name in _index() else None


def all_rpcs() -> list[Rpc]:
    """Every RPC, by name."""
    return [find(name) for name in names()]


@cache
def import_all() -> None:
    """Know every message, also those that no RPC of this run names."""
    for module in set(_index().values()):
        importlib.import_module(f"zcloud.v1.{module}")


COMMANDS: Mapping[str, str] = {
    "serve": "start a management node",
    "agent": "start an agent: kvm or simulator",
    "why": "say why a resource is as it is, back to who or what caused it",
    "diff": "say what became of a resource between two moments",
    "audit": "verify that nobody rewrote the log, or export a part of it as evidence",
    "replay": "build the read models of a moment into a SQLite file",
    "check": "compare the read models with a fresh fold of the log",
    "rebuild": "fill the read models anew from the log",
    "list": "name all RPCs, or those with a word in their names: zcloud list host",
    "help": "explain an RPC: its fields, types and defaults",
    "completion": "print completion for bash or zsh",
}


def _rpcs_of(module: Any) -> dict[str, Rpc]:
    services = module.DESCRIPTOR.services_by_name.values()
    return {method.name: Rpc(method.name, method) for service in services for method in service.methods}


@cache
def _index() -> dict[str, str]:
    """RPC name to module. Kept in a file: importing hundreds of modules to call one RPC would be felt."""
    modules = sorted(info.name for info in pkgutil.iter_modules(zcloud.v1.__path__) if info.name.endswith("_pb2"))
    folder = Path(next(iter(zcloud.v1.__path__)))
    stamp = [[name, (folder / f"{name}.py").stat().st_mtime_ns] for name in modules]
    kept = cache_directory() / "rpcs.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(kept.read_text())
        if content["stamp"] == stamp and content["folder"] == str(folder):
            return dict(content["rpcs"])
    rpcs = {rpc: name for name in modules for rpc in _rpcs_of(importlib.import_module(f"zcloud.v1.{name}"))}
    with suppress(OSError):  # a read-only home costs time only
        write_private(kept, json.dumps({"stamp": stamp, "folder": str(folder), "rpcs": rpcs}))
    return rpcs
