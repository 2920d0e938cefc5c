"""Every RPC with random requests: never INTERNAL, no traceback, and what was refused has changed nothing (ARC-14)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.fuzz.fuzz import NAMES, fuzz
from tests.support.sshd import sshd
from zcloud.api import handlers
from zcloud.api.answers import load_handlers
from zcloud.api.node import load_everything
from zcloud.kernel.cloud import Cloud

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
    # Who refuses everything is asked nothing in earnest: what there is must do for each, or it gets a hint.
    assert [name for name in names if not found.granted[name]] == [], "never granted: see tests/fuzz/hints.py"
    assert set(found.codes) >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "PERMISSION_DENIED"}


def test_what_is_wrong_on_purpose_is_found(tmp_path: Path, sshd: PrivateSshd) -> None:
    """A preview that writes, and a mistake of ours in a handler."""
    load_everything()
    load_handlers()
    decide = Cloud.decide

    def written(self: Cloud, context: Any, body: Any, *, dry_run: bool = False, **more: Any) -> Any:
        return decide(self, context, body, dry_run=dry_run and context.origin != "CreateTag", **more)

    async def broken(*_: Any) -> None:
        raise KeyError("as ordered")

    with mock.patch.object(Cloud, "decide", written), mock.patch.dict(handlers.commands, {"LogOut": broken}):
        found = asyncio.run(fuzz(tmp_path, sshd, ("CreateTag", "LogOut"), 1, 40, 0))
    for mistake in ("CreateTag only previewed, and wrote", "INTERNAL: the server failed", "KeyError: 'as ordered'"):
        assert any(mistake in wrong for wrong in found.wrong), mistake
