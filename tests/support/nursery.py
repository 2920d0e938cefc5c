"""Servers and their workers are forked from a process that has imported everything: they serve within a tenth of a
second.

What runs in the child is the real main of the module that was asked for, with exactly the variables and the directory
that a program would be given. Orders come by a Unix socket, one for each child, with its three standard files. The
answer is the child's number; its status follows when it has ended.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tests.support.forked import Child, fork_workers, order

# Importing these is what takes so long.
MODULES = ("zcloud.cli.main", "zcloud.cli.serve", "projections.worker", "zcloud.api.call_worker")
LARGEST = 1 << 18
# A module whose begin(argv) runs in each child before its main.
BEGIN = "ZCLOUD_TEST_BEGIN"


class Nursery:
    """Serves until its standard input ends, and takes all of its children along."""

    def __init__(self, path: str) -> None:
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.bind(path)
        self._door.listen(64)
        self._events = selectors.DefaultSelector()
        # Of each child: what tells of its end, and who wants to know.
        self._children: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> None:
        """Fork on order."""
        self._events.register(self._door, selectors.EVENT_READ, self._order)
        self._events.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        print("ready", flush=True)
        while True:
            for key, _ in self._events.select():
                if key.data is None:
                    return self._end()
                key.data()

    def _order(self) -> None:
        asker, _ = self._door.accept()
        data, files, _, _ = socket.recv_fds(asker, LARGEST, 3)
        child = os.fork()
        if not child:
            self._events.close()
            self._door.close()
            for other, (watch, waiting) in self._children.items():
                del other
                os.close(watch)
                waiting.close()
            asker.close()
            _live(files, **json.loads(data))
        for file in files:
            os.close(file)
        watch = os.pidfd_open(child)
        self._children[child] = watch, asker
        self._events.register(watch, selectors.EVENT_READ, lambda: self._ended(child))
        try:
            asker.send(b"%d" % child)
        except OSError:  # who asked was killed meanwhile: nobody will ever speak to what it wanted
            os.kill(child, signal.SIGKILL)

    def _ended(self, child: int) -> None:
        watch, asker = self._children.pop(child)
        self._events.unregister(watch)
        os.close(watch)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):  # who asked may have ended before
            asker.send(b"%d" % os.waitstatus_to_exitcode(status))
        asker.close()

    def _end(self) -> None:
        for child in self._children:
            os.kill(child, signal.SIGKILL)


def _live(files: list[int], module: str, argv: list[str], environment: dict[str, str], directory: str) -> NoReturn:
    status = 1
    try:
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        random.seed()  # else all children throw the same dice
        sys.argv = [module, *argv]
        # The files of this process have what the parent had read and not written yet.
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        fork_workers()
        if begin := environment.get(BEGIN):
            importlib.import_module(begin).begin(argv)
        status = int(importlib.import_module(module).main(argv) or 0)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def spawn(argv: list[str], output: Any, environment: Mapping[str, str]) -> Child:
    """argv: the interpreter, -m, the module, and what its main is given."""
    with open(os.devnull, "rb") as nothing:
        files = nothing.fileno(), output.fileno(), output.fileno()
        return Child(*order(_begun(), files, argv[2], argv[3:], environment))


@cache
def _begun() -> str:
    """Where to order: of one process, as long as this one lives. All that was forked is gone afterwards."""
    directory = tempfile.TemporaryDirectory(prefix="zcloud-nursery-", dir="/tmp")
    path = str(Path(directory.name) / "door")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.nursery", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # whatever ends this process, the end of that one's input is what ends all children
    )

    def end() -> None:
        process.communicate()
        directory.cleanup()

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path


def main(path: str) -> None:
    """Import, then serve."""
    for name in MODULES:
        importlib.import_module(name)
    from projections.schema.registry import ReadModels
    from projections.versions import versions_of
    from zcloud.api.answers import load_handlers
    from zcloud.api.node import load_everything

    load_everything()
    load_handlers()
    # Tables and statements are the same in all children.
    versions_of(ReadModels.of_api())
    gc.collect()
    gc.freeze()
    Nursery(path).serve()


if __name__ == "__main__":
    main(sys.argv[1])
