"""Every RPC with random requests: never INTERNAL, no traceback, and what was refused has changed nothing (ARC-14)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.fuzz.fuzz import NAMES, fuzz
from tests.support.sshd import sshd

__all__ = ["sshd"]
# Its sshd is its own: it may run beside all others.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]
# Of each RPC; 200000 in all. `make faults FUZZ=10000` takes so many.
PREVIEWS, EARNEST = 800, 8
LEAST = 500
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_no_request_breaks_the_server(part: int, tmp_path: Path, sshd: PrivateSshd) -> None:
    each = int(os.environ.get("FUZZ") or PREVIEWS)
    names = NAMES[part::PARTS]
    found = asyncio.run(fuzz(tmp_path, sshd, names, part, each, EARNEST))
    assert found.wrong == []
    assert set(found.calls) == set(names)
    assert min(found.calls.values()) >= min(LEAST, each)
    # Who refuses everything is asked nothing in earnest; some need what can't be had here, such as a job that is Stuck.
    assert len(found.passed) > 0.7 * len(names), sorted(set(names) - found.passed)
    assert set(found.codes) >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "PERMISSION_DENIED"}
