"""`zcloud diff RESOURCE --from TIME [--to TIME]`: what became of a resource between two moments, field by field."""

from __future__ import annotations

from typing import Any

from zcloud.cli import output, references, server
from zcloud.cli.catalog import Rpc
from zcloud.cli.client import Client
from zcloud.cli.errors import OK
from zcloud.cli.failures import CallError
from zcloud.cli.past import first_event, getter, moment, parser, value
from zcloud.cli.plain import plain

# They differ whenever anything does.
SELF_EVIDENT = ("version", "last_op_date")


def main(argv: list[str]) -> int:
    """Print the fields that differ."""
    made = parser("diff", "What became of a resource between two moments.")
    made.add_argument("--from", dest="start", required=True, metavar="TIME", help="2026-05-01T08:00:00Z, or 2h for ago")
    made.add_argument("--to", dest="end", metavar="TIME", help="now when absent")
    options = made.parse_args(argv)
    start = moment("--from", options.start)
    end = moment("--to", options.end) if options.end else ""
    with Client(server.chosen(options)) as client:
        uuid = references.uuid_of(client, "resource", references.ANY, options.resource)
        rpc = getter(first_event(client, uuid).resource_kind)
        before, after = (_as_of(client, rpc, uuid, at) for at in (start, end))
    found = {
        name: (before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if name not in SELF_EVIDENT and before.get(name) != after.get(name)
    }
    if options.output != "table":
        output.print_data({name: {"from": old, "to": new} for name, (old, new) in found.items()}, options.output)
    elif not before and not after:
        print("It was there at neither moment.")
    elif not found:
        print("Nothing differs.")
    else:
        _print(before, after, found)
    return OK


def _print(before: dict[str, Any], after: dict[str, Any], found: dict[str, tuple[Any, Any]]) -> None:
    if not before:
        print("It was not there yet.")
    if not after:
        print("It is gone.")
    width = max(map(len, found))
    for name, (old, new) in found.items():
        print(f"{name:<{width}}  {value(old)} -> {value(new)}")


def _as_of(client: Client, rpc: Rpc, uuid: str, time: str) -> dict[str, Any]:
    request: Any = rpc.new_request()
    request.uuid = uuid
    if time:
        request.at_time.FromJsonString(time)
    try:
        answer: Any = client.call(rpc, request)
    except CallError as error:
        if error.code.name != "NOT_FOUND":
            raise
        return {}
    return {name: item for name, item in plain(answer.inventory).items() if item not in ("", None, [], {}, 0)}
