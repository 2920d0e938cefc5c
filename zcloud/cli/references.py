"""Names where uuids are expected: zone_uuid=zone1 asks which zone has that name."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from zcloud.cli import catalog
from zcloud.cli.catalog import Rpc
from zcloud.cli.client import Client
from zcloud.cli.errors import UsageError
from zcloud.cli.failures import CallError
from zcloud.v1.options_pb2 import FORMAT_UUID

_UUID = re.compile(r"[0-9a-f]{32}")
# Of several with one name so many are shown.
_SHOWN = 5
# In the place of a kind, where any is meant.
ANY = "resource"
_OF_ANY_KIND = ("about_uuid", "resource_uuids")


def resolve(client: Client, rpc: Rpc, request: Message) -> None:
    """Put uuids in the place of names, wherever the descriptors say what kind is meant."""
    for message, field, kind in _references(rpc, request):
        value = getattr(message, field.name)
        if field.is_repeated:
            value[:] = [uuid_of(client, field.name, kind, each) for each in value]
        else:
            setattr(message, field.name, uuid_of(client, field.name, kind, value))


def kind_named(field: FieldDescriptor) -> str:
    """The kind that a field of a request names by a uuid; ANY; or nothing."""
    rules = catalog.rules_of(field)
    if rules.references:
        return str(rules.references)
    if rules.format != FORMAT_UUID:
        return ""
    # What a request must say names something; what it may say is the uuid that something new is to have.
    if field.name in _OF_ANY_KIND or (field.name == "resource_uuid" and rules.required):
        return ANY
    # Kinds that may be gone are not held to the rule by the server.
    kind = re.sub(r"_uuids?$", "", field.name)
    return kind if catalog.get(f"Query{_type_name(kind)}") else ""


def _references(rpc: Rpc, message: Message, top: bool = True) -> Iterator[tuple[Message, FieldDescriptor, str]]:
    """Fields that are set, with the kinds that they refer to; those of messages in it as well."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            if field.is_repeated and not field.message_type.GetOptions().map_entry:
                for item in value:
                    yield from _references(rpc, item, top=False)
        elif kind := kind_named(field):
            yield message, field, ANY if kind == ANY else _type_name(kind)
        elif top and field.name == "uuid":
            yield message, field, rpc.method.containing_service.name.removesuffix("Service")


def _type_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def uuid_of(client: Client, field: str, kind: str, text: str) -> str:
    """The uuid of a resource of a kind, by that or by its name. field: what to call it when there is none."""
    if _UUID.fullmatch(text) or not text:
        return text
    if kind == ANY:
        return _uuid_of_any(client, field, text)
    query = catalog.get(f"Query{kind}")
    if query is None or not query.queries:
        return text
    found = _found(client, query, text)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"{field}: there is no {kind} with the name or uuid {text!r}; `zcloud {query.name}` shows all."
        )
    raise UsageError(f"{field}: more than one {kind} has the name {text!r}; say which by its uuid: {', '.join(found)}.")


def _uuid_of_any(client: Client, field: str, text: str) -> str:
    found: list[tuple[str, str]] = []
    for query in _of_named_things():
        try:
            found += [(query.name.removeprefix("Query"), uuid) for uuid in _found(client, query, text)]
        except CallError as error:
            if error.code.name != "PERMISSION_DENIED":  # some kinds are the admin's
                raise
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise UsageError(f"{field}: nothing has the name or uuid {text!r}; what is gone goes by its uuid only.")
    several = ", ".join(f"{kind} {uuid}" for kind, uuid in found)
    raise UsageError(f"{field}: more than one has the name {text!r}; say which by its uuid: {several}.")


def _found(client: Client, query: Rpc, name: str) -> list[str]:
    request: Any = query.new_request()
    request.filter = f"name = {json.dumps(name, ensure_ascii=False)}"
    request.page_size = _SHOWN
    answer: Any = client.call(query, request)
    return [str(inventory.uuid) for inventory in answer.inventories]


@cache
def _of_named_things() -> tuple[Rpc, ...]:
    """Queries of the kinds whose resources people give names to: jobs and caches have those of other things."""
    kinds = set()
    for method in (catalog.find(name).method for name in catalog.names() if name.startswith("Update")):
        if {"uuid", "name"} <= set(method.input_type.fields_by_name):
            rules = catalog.resource_of(method.output_type.fields_by_name["inventory"].message_type)
            kinds.add(rules.extends or rules.kind)
    return tuple(query for kind in sorted(kinds) if (query := catalog.get(f"Query{_type_name(kind)}")))
