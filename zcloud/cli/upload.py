"""`zcloud UploadImage uuid=… file=…`: brings a file to the server, going on after losses from where the server is."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from zcloud.cli import arguments, catalog, job, output, server
from zcloud.cli.arguments import Options
from zcloud.cli.catalog import Rpc
from zcloud.cli.client import Client
from zcloud.cli.errors import FAILED, OK, UsageError
from zcloud.cli.failures import CallError

BLOCK = 1 << 20
TRIES = 10


def run(rpc: Rpc, options: Options) -> int:
    """Call an RPC that takes a file as a stream; how far it is says the RPC whose name begins with Get."""
    path, words = _file(rpc, options.words)
    request: Any = arguments.request_of(rpc, words)
    progress = catalog.find(f"Get{rpc.name.removeprefix('Upload')}Upload")
    with Client(server.chosen(options)) as client:
        answer: Any = _bring(client, rpc, progress, request, path, options)
        status = OK
        if answer.job_uuid and not options.no_wait:
            ended = job.wait(client, answer.job_uuid)
            if job.state_of(ended) != "Succeeded":
                print(f"zcloud: {job.why(ended)}", file=sys.stderr)
                status = FAILED
        output.print_answer(answer, options.output, request)
        return status


def _file(rpc: Rpc, words: list[str]) -> tuple[Path, list[str]]:
    """The file that is named, and the words that are fields of the request."""
    found = [word.partition("=")[2] for word in words if word.startswith("file=")]
    if len(found) != 1:
        raise UsageError(f"{rpc.name} needs file=PATH, the file that is to be uploaded.")
    path = Path(found[0])
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    return path, [word for word in words if not word.startswith(("file=", "offset=", "data="))]


def _bring(client: Client, rpc: Rpc, progress: Rpc, request: Any, path: Path, options: Options) -> Message:
    for attempt in range(TRIES):
        asked: Any = progress.new_request()
        asked.uuid = request.uuid
        told: Any = client.call(progress, asked)
        if told.size != path.stat().st_size:
            raise UsageError(f"{path} has {path.stat().st_size} bytes, the image was announced with {told.size}.")
        try:
            return client.upload(rpc, lambda at=told.offset: _messages(rpc, request.uuid, path, at), options)
        except CallError as error:
            if error.code.name not in ("UNAVAILABLE", "DEADLINE_EXCEEDED") or attempt == TRIES - 1:
                raise
            print(f"zcloud: {error.code.name}; going on in a moment", file=sys.stderr)
            time.sleep(min(30, 2**attempt))
    raise AssertionError("the last attempt raises")


def _messages(rpc: Rpc, uuid: str, path: Path, offset: int) -> Iterator[Message]:
    first: Any = rpc.new_request()
    first.uuid, first.offset = uuid, offset
    yield first
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(BLOCK):
            message: Any = rpc.new_request()
            message.data = block
            yield message
