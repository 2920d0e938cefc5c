"""Every RPC with random requests: never INTERNAL, no traceback, and what was refused has changed nothing (ARC-14)."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from pathlib import Path

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.fuzz.fuzz import NAMES, Found, fuzz
from tests.support.sshd import sshd
from tests.support.workers import spread

__all__ = ["sshd"]
pytestmark = [pytest.mark.faults, pytest.mark.real, pytest.mark.timeout(0)]
# Of each RPC; 200000 in all. `make faults FUZZ=10000` takes so many.
PREVIEWS, EARNEST = 900, 8
LEAST = 500
PARTS = 2


def part(number: int, base: Path, sshd: PrivateSshd, each: int) -> Found:
    """Some of the RPCs, on a cloud of their own."""
    logging.disable(logging.WARNING)
    directory = base / str(number)
    directory.mkdir()
    return asyncio.run(fuzz(directory, sshd, NAMES[number::PARTS], number, each, EARNEST))


def test_no_request_breaks_the_server(tmp_path: Path, sshd: PrivateSshd) -> None:
    each = int(os.environ.get("FUZZ") or PREVIEWS)
    found = spread(partial(part, base=tmp_path, sshd=sshd, each=each), range(PARTS))
    assert [wrong for one in found for wrong in one.wrong] == []
    calls = {name: count for one in found for name, count in one.calls.items()}
    assert set(calls) == set(NAMES)
    assert min(calls.values()) >= min(LEAST, each)
    # Who refuses everything is never asked in earnest.
    passed = set.union(*(one.passed for one in found))
    assert len(passed) > 0.85 * len(NAMES), sorted(set(NAMES) - passed)
    codes = {code for one in found for code in one.codes}
    assert codes >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "PERMISSION_DENIED"}
