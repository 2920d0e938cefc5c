"""Servers for tests are forked from a process that has imported everything: they serve within a tenth of a second.

What runs in the child is the real main, with exactly the variables and the directory that a program would be given.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.faults.cluster.child import NURSERY
from tests.faults.cluster.forked import Child
from tests.faults.cluster.nursery import main as nurse
from tests.faults.cluster.nursery import order


def spawn(argv: list[str], output: Any, environment: Mapping[str, str]) -> Child:
    """argv: the interpreter, -m, the module, and what its main is given."""
    path = _begun()
    told = {"environment": {**environment, NURSERY: path}, "directory": os.getcwd(), "module": argv[2]}
    with open(os.devnull, "rb") as nothing:
        files = nothing.fileno(), output.fileno(), output.fileno()
        return Child(*order(path, files, "tests.support.nursery", [json.dumps(told), *argv[3:]]))


def main(argv: list[str]) -> int:
    """In the child."""
    told = json.loads(argv[0])
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["directory"])
    random.seed()  # else all children throw the same dice
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = [told["module"], *argv[1:]]
    return int(importlib.import_module(told["module"]).main(argv[1:]) or 0)


@cache
def _begun() -> str:
    """Where to order: of one process, as long as this one lives. All that was forked is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="zcloud-nursery-", dir="/tmp"))
    path = str(directory / "door")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.nursery", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # whatever ends this process, the end of that one's input is what ends all children
    )

    atexit.register(process.communicate)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path


def _prepare(path: str) -> None:
    """Tables and statements are the same in all children."""
    from projections.schema.registry import ReadModels
    from projections.versions import versions_of

    versions_of(ReadModels.of_api())
    try:
        nurse(path)
    finally:
        shutil.rmtree(Path(path).parent)


if __name__ == "__main__":
    _prepare(sys.argv[1])
