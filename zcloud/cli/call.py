"""One call from the command line: arguments to request, answer to output, and the job to its end."""

import sys
from typing import Any

from google.protobuf.message import Message

from zcloud.cli import arguments, catalog, job, output, references, server, session, upload
from zcloud.cli.arguments import Options
from zcloud.cli.catalog import Rpc
from zcloud.cli.client import Client
from zcloud.cli.errors import FAILED, INTERRUPTED, OK, UsageError
from zcloud.cli.failures import CallError


def run(name: str, argv: list[str]) -> int:
    """Call the RPC of that name."""
    rpc = catalog.find(name)
    options = arguments.parse(rpc, argv)
    if options.help:
        from zcloud.cli import explain

        return explain.explain(name)
    if rpc.method.client_streaming and not rpc.method.server_streaming:
        return upload.run(rpc, options)
    if rpc.method.client_streaming:
        raise UsageError(f"{name} is a conversation between an agent and the server; `zcloud agent` holds it.")
    request = arguments.request_of(rpc, options.words)
    with Client(server.chosen(options)) as client:
        references.resolve(client, rpc, request)
        if rpc.name == "WatchJob" and options.output == "table":
            return _watch(client, request)
        if rpc.method.server_streaming:
            for answer in client.stream(rpc, request, options):
                output.print_item(answer, options.output)
            return OK
        answer = client.call(rpc, request, options)
        status, there = _follow(client, rpc, answer, options)
        _keep_session(client, rpc, request, answer, options)
        # What people see below a failure should be there; programs want their answer in any case.
        if there or status == OK or options.output != "table":
            output.print_answer(answer, options.output, request)
        return status


def _watch(client: Client, request: Any) -> int:
    """As a call's own job is followed: a job as a line of a table is for nobody to read."""
    ended = job.wait(client, request.uuid)
    print(job.why(ended))
    return OK if job.state_of(ended) == "Succeeded" else FAILED


def _follow(client: Client, rpc: Rpc, answer: Any, options: Options) -> tuple[int, bool]:
    """Wait for the job of a mutating call, then put the inventory as it is now into the answer.

    Gives the status, and whether there is such a resource.
    """
    uuid = getattr(answer, "job_uuid", "")
    if not uuid or not rpc.mutating or options.no_wait or options.validate_only:
        return OK, True
    try:
        ended = job.wait(client, uuid)
    except KeyboardInterrupt:
        print(f"\nThe job goes on: zcloud WatchJob uuid={uuid} (or CancelJob)", file=sys.stderr)
        return INTERRUPTED, True
    about_itself = answer.inventory.DESCRIPTOR == ended.DESCRIPTOR  # CancelJob wants it canceled
    good = ("Succeeded", "Canceled") if about_itself else ("Succeeded",)
    there = _refresh(client, answer)
    if job.state_of(ended) in good:
        return OK, there
    print(f"zcloud: {job.why(ended)}", file=sys.stderr)
    return FAILED, there


def _refresh(client: Client, answer: Any) -> bool:
    """False when it is not there any more."""
    kind = answer.inventory.DESCRIPTOR.name
    rpc = catalog.get(f"Get{kind}")
    if rpc is None or "uuid" not in rpc.method.input_type.fields_by_name:
        return True
    request: Any = rpc.new_request()
    request.uuid = answer.inventory.uuid
    try:
        fresh: Any = client.call(rpc, request)
    except CallError as error:
        if error.code.name != "NOT_FOUND":
            raise
        # Deleted, or never made: what the answer says of it is the last that was known.
        print(f"{kind} {answer.inventory.name or request.uuid} is no longer there.", file=sys.stderr)
        return False
    answer.inventory.CopyFrom(fresh.inventory)
    return True


def _keep_session(client: Client, rpc: Rpc, request: Any, answer: Any, options: Options) -> None:
    inventory: Message | None = getattr(answer, "inventory", None)
    if options.validate_only or inventory is None:
        return
    token = getattr(inventory, "token", "")
    if rpc.access == "public" and token and hasattr(request, "account_name"):
        path = session.keep(client.server, session.Session(token, request.account_name))
        print(f"The session is kept in {path}", file=sys.stderr)
    elif rpc.name == "LogOut" and session.from_environment() is None:
        session.forget(client.server)
