"""The process that fills the read models, when it stands still."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.cloud import ServerProcess
from tests.support.impatient import HOLD, PROCESS
from tests.support.nursery import BEGIN


def soon(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def state(process: int) -> str:
    """As the kernel has it; nothing of one that is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_one_that_was_paused_is_seen_to_lag_and_another_takes_its_place(tmp_path: Path) -> None:
    """ARC-14, MN-02: it did not die, and yet nobody waits for it for ever."""
    server = ServerProcess(tmp_path / "data", {BEGIN: "tests.support.impatient"})
    server.start()
    try:
        admin = server.admin
        admin.call("CreateZone", name="one")
        assert admin.call("QueryZone", count=True).total == 1
        (server.directory / HOLD).touch()
        paused = int((server.directory / PROCESS).read_text())
        with contextlib.suppress(ProcessLookupError):  # on a machine that is very busy patience may have ended before
            os.kill(paused, signal.SIGSTOP)
        soon(lambda: state(paused) in ("T", ""))
        admin.call("CreateZone", name="two")
        (node,) = admin.call("QueryManagementNode").inventories
        assert node.view_lag > 0
        (server.directory / HOLD).unlink()
        assert admin.call("QueryZone", count=True).total == 2
        assert int((server.directory / PROCESS).read_text()) != paused
        soon(lambda: not state(paused))
        assert "the process that fills the read models said nothing for 4 s" in server.output.read_text()
    finally:
        assert server.stop() == 0
