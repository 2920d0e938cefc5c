"""The keepers of zcloud serve --workers: a worker that can't be started just now is started later."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import pytest

from zcloud.cli import workers
from zcloud.cli.workers import SERVES, Workers

SERVING = f"echo {SERVES}somewhere; exec sleep 600"


def options(directory: Path) -> argparse.Namespace:
    anywhere = dict.fromkeys(workers.DOORS, "127.0.0.1:0")
    return argparse.Namespace(data=str(directory), workers=1, **anywhere)


class Starts:
    """Instead of nodes: programs that say they serve. failures: what starts end in, the first one first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failures: Exception | None) -> None:
        self.failures = list(failures)
        self.begun: list[asyncio.subprocess.Process] = []
        self.serves = asyncio.Event()
        monkeypatch.setattr(workers, "AGAIN_SECONDS", 0.01)
        monkeypatch.setattr(Workers, "_start", lambda _self, _number: self.start())
        monkeypatch.setattr(Workers, "_show", lambda _self, _number: self.serves.set())

    async def start(self) -> asyncio.subprocess.Process:
        if self.failures and (error := self.failures.pop(0)) is not None:
            raise error
        made = await asyncio.create_subprocess_exec("sh", "-c", SERVING, stdout=asyncio.subprocess.PIPE)
        self.begun.append(made)
        return made


def test_a_worker_that_died_is_started_again_when_that_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> list[int | None]:
        starts = Starts(monkeypatch, None, OSError("no process is to be had"), ZeroDivisionError())
        made = Workers(options(tmp_path))
        serving = asyncio.ensure_future(made.run())
        async with asyncio.timeout(60):
            await starts.serves.wait()
            starts.serves.clear()
            starts.begun[0].kill()
            await starts.serves.wait()
            made._stopping.set()
            assert await serving == 0
        assert not starts.failures
        return [process.returncode for process in starts.begun]

    assert asyncio.run(go()) == [-9, -15]


def test_one_that_can_never_be_started_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> Any:
        Starts(monkeypatch, OSError("no process is to be had"))
        return await Workers(options(tmp_path)).run()

    with pytest.raises(OSError, match="no process is to be had"):
        asyncio.run(go())
