"""The process that writes the log of calls: python -m zcloud.api.call_worker DIR.

Reads batches from its standard input (four bytes of length, then MessagePack), answers each with a line that says
how many of its calls could not be kept, and ends when its input does.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import msgspec
from google.protobuf.message import Message

from projections.call_log import CallLog
from zcloud.api.call_record import Told, complete
from zcloud.kernel import memory
from zcloud.v1.operation_log_pb2 import OperationLog

log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Write until the input ends."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    memory.settle()
    calls = CallLog(Path(argv[0]), OperationLog)
    while head := sys.stdin.buffer.read(4):
        batch = msgspec.msgpack.decode(sys.stdin.buffer.read(int.from_bytes(head, "big")), type=list[Told])
        kept = _keep(calls, batch)
        try:
            print(kept, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1  # the node is gone; nobody is left to be told
    return 0


def _keep(calls: CallLog, batch: list[Told]) -> int:
    records: list[tuple[Message, str]] = []
    for told in batch:
        try:
            records.append(complete(told))
        except Exception:
            log.exception("a call of %s could not be kept", told.rpc)
    try:
        calls.write(records)
    except Exception:
        log.exception("%d calls could not be kept", len(batch))
        return len(batch)
    return len(batch) - len(records)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
