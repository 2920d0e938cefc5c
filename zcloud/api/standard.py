"""What an RPC does when nobody says otherwise, read off its name: Create/Add, Update, Change…State, Delete, verbs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from zcloud.api.call import Call
from zcloud.api.handlers import Command
from zcloud.api.rpcs import Rpc
from zcloud.kernel.aggregate import by_kind, snake
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.v1 import options_pb2

_NOT_ARGUMENTS = ("uuid", "resource_uuid", "delete_mode")


def arguments(call: Call, request: Message) -> dict[str, Any]:
    """Fields that are present, by name: enums in short form, secrets sealed, lists as tuples."""
    found: dict[str, Any] = {}
    for name, presence, read in _fields(request.DESCRIPTOR):
        value = getattr(request, name)
        if request.HasField(name) if presence else value:
            found[name] = value if read is None else read(call, value)
    return found


# Makes an argument of a field's value; None where the value is it.
_Read = Callable[[Call, Any], Any]


@cache
def _fields(descriptor: Descriptor) -> tuple[tuple[str, bool, _Read | None], ...]:
    return tuple(
        (field.name, bool(field.has_presence), _reader(field))
        for field in descriptor.fields
        if field.name not in _NOT_ARGUMENTS
    )


def _reader(field: FieldDescriptor) -> _Read | None:
    single = _single(field)
    if not field.is_repeated:
        return single
    return lambda call, value: tuple(value if single is None else (single(call, item) for item in value))


def _single(field: FieldDescriptor) -> _Read | None:
    if field.type == FieldDescriptor.TYPE_ENUM:
        enum = field.enum_type
        shorts = {number: short(value.name, enum.name) for number, value in enum.values_by_number.items()}
        return lambda _, value: shorts[value]
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return lambda call, value: {f.name: _part(call, f, v) for f, v in value.ListFields()}
    if field.GetOptions().Extensions[options_pb2.rules].secret:
        return lambda call, value: call.node.vault.seal(value)
    return None


def _part(call: Call, field: FieldDescriptor, value: Any) -> Any:
    read = _reader(field)
    return value if read is None else read(call, value)


def short(value: str, enum: str) -> str:
    """STATE_NO_STATE of State -> NoState."""
    prefix = snake(enum).upper() + "_"
    return "".join(part.capitalize() for part in value.removeprefix(prefix).split("_"))


def handler_of(rpc: Rpc) -> Command | None:
    """The standard handler of a mutating RPC, None when its name says nothing."""
    if not rpc.kind:
        return None
    cls = by_kind(rpc.kind)
    assert issubclass(cls, Resource)
    noun = rpc.response.DESCRIPTOR.fields_by_name["inventory"].message_type.name
    if rpc.name in (f"Create{noun}", f"Add{noun}"):
        return _create(cls)
    if rpc.name == f"Delete{noun}":
        return _delete(cls)
    if rpc.name == f"Change{noun}State":
        return _change_state(cls)
    verb = snake(rpc.name.removesuffix(noun))
    if rpc.name.endswith(noun) and "uuid" in rpc.request.DESCRIPTOR.fields_by_name and hasattr(cls, verb):
        return _verb(cls, verb)
    return None


def _create(cls: type[Resource]) -> Command:
    async def create(call: Call, unit: Unit, request: Any) -> Resource:
        made = await unit.new(cls, request.resource_uuid)
        made.create(**arguments(call, request))  # type: ignore[attr-defined]
        return made

    return create


def _verb(cls: type[Resource], verb: str) -> Command:
    async def act(call: Call, unit: Unit, request: Any) -> Resource:
        found = await unit.get(cls, request.uuid)
        getattr(found, verb)(**arguments(call, request))
        return found

    return act


def state_event(call: Call, request: Any) -> str:
    """What is to become of its state: one of the values that the field's rules name."""
    return str(arguments(call, request)["state_event"]).lower()


def _change_state(cls: type[Resource]) -> Command:
    async def change_state(call: Call, unit: Unit, request: Any) -> Resource:
        found = await unit.get(cls, request.uuid)
        found.change_state(state_event(call, request))  # type: ignore[attr-defined]
        return found

    return change_state


def _delete(cls: type[Resource]) -> Command:
    async def delete(call: Call, unit: Unit, request: Any) -> Resource:
        found = await unit.get(cls, request.uuid)
        return await remove(call, unit, found, request)

    return delete


def delete_mode(request: Any) -> str:
    """Permissive unless Enforcing is asked for."""
    field = request.DESCRIPTOR.fields_by_name["delete_mode"]
    mode = short(field.enum_type.values_by_number[request.delete_mode].name, field.enum_type.name)
    return "Enforcing" if mode == "Enforcing" else "Permissive"


async def remove(call: Call, unit: Unit, found: Resource, request: Any) -> Resource:
    """By an event where that is enough, else by the kind's workflow."""
    del call
    if found.delete_workflow:
        await submit(unit, found.delete_workflow, found, {"mode": delete_mode(request), "kind": found.kind})
    else:
        found.remove()
    return found
