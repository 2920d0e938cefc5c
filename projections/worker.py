"""The process that fills the read models: python -m projections.worker --data DIR [--store postgresql://…].

Reads how far the log is, and whether it is the one that writes (0 or 1), line by line, from its standard input; writes
how far it is to its standard output; ends when its input does.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import sys
import time
from pathlib import Path

import zcloud.domain
import zcloud.kernel
from projections.engine import open_engine
from projections.projector import Projector
from projections.schema.registry import ReadModels
from zcloud.kernel import memory
from zcloud.kernel.errors import Refused
from zcloud.kernel.store import open_store

log = logging.getLogger(__name__)
RETRY_SECONDS = 1.0


def main(argv: list[str] | None = None) -> int:
    """Follow until the input ends."""
    parser = argparse.ArgumentParser(prog="projections.worker")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", default="")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for package in (zcloud.kernel, zcloud.domain):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(info.name)
    store = open_store(options.data, options.store)
    engine = open_engine(options.data, options.store)
    projector = Projector(store, engine, ReadModels.of_api())
    projector.prepare()
    memory.settle()
    try:
        _say(projector.position)
        for line in sys.stdin:
            head, _, writes = line.partition(" ")
            _follow(projector, int(head), writes=writes.strip() != "0")
    except BrokenPipeError:
        return 1  # the node is gone; what is not folded is folded at the next start
    return 0


def _follow(projector: Projector, head: int, *, writes: bool) -> None:
    """Up to a position, and past it when more is there already; says at each batch, and at the end, where it is.

    Told of nothing new it makes sure: the tables may have lost what it remembers to have written.
    """
    parent = os.getppid()
    sure = projector.position < head
    while projector.position < head or not sure:
        if os.getppid() != parent:
            raise BrokenPipeError("the node is gone")
        try:
            if not sure:
                projector.resume()
                sure = True
            elif writes:
                projector.advance()
            else:
                projector.watch(head)
        except Exception as error:
            if isinstance(error, Refused):
                log.warning("the read models are written later: %s", error.message)
            else:
                log.exception("the read models could not be written; trying again")
            time.sleep(RETRY_SECONDS)
            try:
                projector.resume()
            except Exception:
                log.warning("their store is still away")
        _say(projector.position)
    # Another worker, that of a node which was killed, may have come here first.
    _say(projector.position)


def _say(position: int) -> None:
    sys.stdout.write(f"{position}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
