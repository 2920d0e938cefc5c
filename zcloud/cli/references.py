"""Names where uuids are expected: zone_uuid=zone1 asks which zone has that name."""

import json
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from zcloud.cli import catalog
from zcloud.cli.catalog import Rpc
from zcloud.cli.client import Client
from zcloud.cli.errors import UsageError

_UUID = re.compile(r"[0-9a-f]{32}")
# Of several with one name so many are shown.
_SHOWN = 5


def resolve(client: Client, rpc: Rpc, request: Message) -> None:
    """Put uuids in the place of names, wherever the descriptors say what kind is meant."""
    for message, field, kind in _references(rpc, request):
        query = catalog.get(f"Query{kind}")
        if query is None or not query.queries:
            continue
        value = getattr(message, field.name)
        if field.is_repeated:
            value[:] = [_uuid(client, query, field.name, kind, each) for each in value]
        else:
            setattr(message, field.name, _uuid(client, query, field.name, kind, value))


def _references(rpc: Rpc, message: Message, top: bool = True) -> Iterator[tuple[Message, FieldDescriptor, str]]:
    """Fields that are set, with the kinds that they refer to; those of messages in it as well."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            if field.is_repeated and not field.message_type.GetOptions().map_entry:
                for item in value:
                    yield from _references(rpc, item, top=False)
        elif kind := catalog.rules_of(field).references:
            yield message, field, "".join(word.capitalize() for word in kind.split("_"))
        elif top and field.name == "uuid":
            yield message, field, rpc.method.containing_service.name.removesuffix("Service")


def _uuid(client: Client, query: Rpc, field: str, kind: str, text: str) -> str:
    if _UUID.fullmatch(text) or not text:
        return text
    request: Any = query.new_request()
    request.filter = f"name = {json.dumps(text, ensure_ascii=False)}"
    request.page_size = _SHOWN
    answer: Any = client.call(query, request)
    found = [inventory.uuid for inventory in answer.inventories]
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise UsageError(
            f"{field}: there is no {kind} with the name or uuid {text!r}; `zcloud {query.name}` shows all."
        )
    raise UsageError(f"{field}: more than one {kind} has the name {text!r}; say which by its uuid: {', '.join(found)}.")
