"""The process that fills the read models: python -m projections.worker --data DIR [--store postgresql://…].

Reads how far the log is, and whether it is the one that writes (0 or 1), line by line, from its standard input; writes
how far it is to its standard output, and an empty line now and then to say that it lives; ends when its input does.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import pkgutil
import sys
import threading
import time
from pathlib import Path

import zcloud.domain
import zcloud.kernel
from agents.runtime.children import alone_within
from projections.engine import open_engine
from projections.projector import Overtaken, Projector
from projections.schema.registry import ReadModels
from zcloud.kernel import memory
from zcloud.kernel.errors import Refused
from zcloud.kernel.keep import Turns, passes
from zcloud.kernel.store import open_store

log = logging.getLogger(__name__)
BEAT_SECONDS = 5.0


def main(argv: list[str] | None = None) -> int:
    """Follow until the input ends."""
    parser = argparse.ArgumentParser(prog="projections.worker")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", default="")
    options = parser.parse_args(argv)
    threading.Thread(target=_beat, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for package in (zcloud.kernel, zcloud.domain):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(info.name)
    models = ReadModels.of_api()
    try:
        projector = _prepared(options.data, options.store, models)
        memory.settle()
        _say(projector.position)
        for line in sys.stdin:
            head, _, writes = line.partition(" ")
            _follow(projector, int(head), writes=writes.strip() != "0")
    except BrokenPipeError:
        return 1  # the node is gone; what is not folded is folded at the next start
    return 0


def _prepared(directory: Path, address: str, models: ReadModels) -> Projector:
    """When the store is there: a process that ended instead would take a core to begin again, or begin too late."""
    turns = Turns("read models")
    while True:
        with contextlib.ExitStack() as opened:
            try:
                store = open_store(directory, address)
                opened.callback(store.close)
                engine = open_engine(directory, address)
                opened.callback(engine.dispose)
                projector = Projector(store, engine, models)
                projector.prepare()
                opened.pop_all()
                return projector
            except Refused as refused:
                if not passes(refused):
                    raise
                away = refused
        _rest(turns, away)


def _rest(turns: Turns, error: Exception) -> None:
    """Until it is tried again."""
    if turns.broke(str(error)):
        if isinstance(error, Refused):
            log.warning("the read models are written later: %s", error.message)
        elif isinstance(error, Overtaken):
            log.info("%s", error)
        else:
            log.error("the read models could not be written; trying again", exc_info=error)
    if alone_within(turns.pause(soon=passes(error))):
        raise BrokenPipeError("the node is gone")


def _follow(projector: Projector, head: int, *, writes: bool) -> None:
    """Up to a position, and past it when more is there already; says at each batch, and at the end, where it is.

    Told of nothing new it makes sure: the tables may have lost what it remembers to have written.
    """
    parent = os.getppid()
    sure = projector.position < head
    turns = Turns("read models")
    while projector.position < head or not sure:
        if os.getppid() != parent:
            raise BrokenPipeError("the node is gone")
        try:
            if not sure:
                projector.resume()
                sure = True
            else:
                if writes:
                    projector.advance()
                else:
                    projector.watch(head)
                turns = Turns("read models")
        except Exception as error:
            _rest(turns, error)
            with contextlib.suppress(Exception):  # as long as the store is away
                projector.resume()
        _say(projector.position)
    # Another worker, that of a node which was killed, may have come here first.
    _say(projector.position)


def _say(position: int) -> None:
    os.write(sys.stdout.fileno(), b"%d\n" % position)


def _beat() -> None:
    """As long as it lives: indexes of a large log take longer than anybody would wait for a word."""
    with contextlib.suppress(OSError):  # the node is gone
        while True:
            os.write(sys.stdout.fileno(), b"\n")
            time.sleep(BEAT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
