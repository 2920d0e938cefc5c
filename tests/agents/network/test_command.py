"""Programs of the host: one that nobody waits for any more does not go on by itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from agents.network import command
from agents.runtime.task import TaskError
from agents.storage.volumes import qemu_img


def said(file: Path) -> str:
    """The number that the program writes when it runs; empty as long as it has not."""
    text = file.read_text() if file.exists() else ""
    return text if text.endswith("\n") else ""


@pytest.mark.parametrize("what", ["network", "volume"])
def test_a_program_ends_with_the_task_that_it_is_for(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next task of the resource follows at once, and must not meet it at work."""
    program = tmp_path / "qemu-img"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    async def go() -> None:
        running: Any = command.run(str(program)) if what == "network" else qemu_img("convert")
        task = asyncio.ensure_future(running)
        async with asyncio.timeout(60):
            while not said(tmp_path / "pid"):  # noqa: ASYNC110 - it tells nobody else
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ProcessLookupError):
            os.kill(int(said(tmp_path / "pid")), 0)

    asyncio.run(go())


def test_a_program_that_hangs_is_ended_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(TaskError, match=r"sleep 600 did not end") as refused:
        asyncio.run(command.run("sleep", "600"))
    assert refused.value.reason == "TIMEOUT"
