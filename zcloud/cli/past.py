"""What the commands about the past share: options, times, whole histories, and values in plain words."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict

from zcloud.cli import catalog, server
from zcloud.cli.arguments import FORMATS, Parser
from zcloud.cli.catalog import Rpc
from zcloud.cli.client import Client
from zcloud.cli.errors import UsageError
from zcloud.cli.failures import printable
from zcloud.cli.human import local_time

_AGO = re.compile(r"-?(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parser(name: str, what: str) -> Parser:
    """The options that both commands take."""
    made = Parser(prog=f"zcloud {name}", allow_abbrev=False, description=what)
    made.add_argument("resource", help="its name or uuid; of one that is gone, its uuid")
    made.add_argument("-o", "--output", choices=FORMATS, default="table", help="how to print the answer")
    server.add_options(made)
    return made


def moment(option: str, text: str) -> str:
    """RFC 3339 of a time as people write it: 2026-05-01, 2026-05-01T08:00, with or without a zone, or 2h for ago."""
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            found = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            found = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r}: a time is expected, like 2026-05-01T08:00:00Z, or 2h for ago.") from None
    return found.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def history(client: Client, uuid: str) -> Iterator[Any]:
    """All events of a resource, oldest first."""
    rpc = catalog.find("GetHistory")
    request: Any = rpc.new_request()
    request.resource_uuid, request.page_size = uuid, 1000
    while True:
        page: Any = client.call(rpc, request)
        yield from page.events
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def first_event(client: Client, uuid: str) -> Any:
    """How a resource began."""
    rpc = catalog.find("GetHistory")
    request: Any = rpc.new_request()
    request.resource_uuid, request.page_size = uuid, 1
    page: Any = client.call(rpc, request)
    return page.events[0]


def getter(kind: str) -> Rpc:
    """The RPC that gives one resource of a kind."""
    for name in catalog.names():
        if name.startswith("Get") and _kind(found := catalog.find(name)) == kind:
            return found
    raise UsageError(f"there is no RPC that gets a {words(kind)}.")


def _kind(rpc: Rpc) -> str:
    fields = (rpc.method.input_type.fields_by_name, rpc.method.output_type.fields_by_name)
    if "at_time" not in fields[0] or "inventory" not in fields[1]:
        return ""
    return str(catalog.resource_of(fields[1]["inventory"].message_type).kind)


def words(name: str) -> str:
    """vm_instance as people write it."""
    return name.replace("_", " ")


def value(found: Any) -> str:
    """A value of any form in a line."""
    if found is None or found == "":
        return "nothing"
    if isinstance(found, float) and found.is_integer():
        return str(int(found))
    if isinstance(found, dict):
        return " ".join(f"{name}={value(item)}" for name, item in found.items())
    if isinstance(found, list):
        return ", ".join(value(item) for item in found)
    return printable(str(found))


def plain_value(message: Any) -> Any:
    """What a google.protobuf.Value holds."""
    return MessageToDict(message)


def when(timestamp: Any) -> str:
    """In the zone of this machine."""
    return local_time(timestamp)
