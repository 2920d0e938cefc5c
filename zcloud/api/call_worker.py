"""The process that writes the log of calls: python -m zcloud.api.call_worker --data DIR [--store …] --node NAME.

Reads batches from its standard input (four bytes of length, then MessagePack), answers each with a line that says
how many of its calls could not be kept, or that the store is away and why, and ends when its input does.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from pathlib import Path

import msgspec
from google.protobuf.message import Message

from projections.call_log import CallLog
from projections.call_log_import import take_over
from zcloud.api.call_record import Told, complete
from zcloud.api.call_writer import AWAY
from zcloud.kernel import memory
from zcloud.kernel.errors import Refused
from zcloud.v1.operation_log_pb2 import OperationLog

log = logging.getLogger(__name__)
# Until a store that is away is asked again to take over what an earlier version kept.
AGAIN_SECONDS = 60.0


def main(argv: list[str]) -> int:
    """Write until the input ends."""
    parser = argparse.ArgumentParser(prog="zcloud.api.call_worker")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", default="")
    parser.add_argument("--node", required=True)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    calls = CallLog(options.data, OperationLog, options.store)
    if options.store:
        # Beside the writing: there may be a million of them.
        threading.Thread(target=_take_over, args=(options.data, calls, options.node), daemon=True).start()
    memory.settle()
    while head := sys.stdin.buffer.read(4):
        batch = msgspec.msgpack.decode(sys.stdin.buffer.read(int.from_bytes(head, "big")), type=list[Told])
        kept = _keep(calls, batch, options.node)
        try:
            print(kept, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1  # the node is gone; nobody is left to be told
    return 0


def _keep(calls: CallLog, batch: list[Told], node: str) -> str:
    records: list[tuple[Message, str]] = []
    for told in batch:
        try:
            records.append(complete(told, node))
        except Exception:
            log.exception("a call of %s could not be kept", told.rpc)
    try:
        calls.write(records)
    except Refused as refused:
        return AWAY + " ".join(refused.message.split())
    except Exception:
        log.exception("%d calls could not be kept", len(batch))
        return str(len(batch))
    return str(len(batch) - len(records))


def _take_over(directory: Path, calls: CallLog, node: str) -> None:
    while True:
        try:
            take_over(directory, calls, node)
        except Refused:
            time.sleep(AGAIN_SECONDS)
        except Exception:
            log.exception("calls of an earlier version wait in %s for the next start", directory)
            return
        else:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
