"""The keepers of zcloud serve --workers: one that can't be started just now is started later, and ends with them."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.children import begin
from zcloud.cli import serve, workers
from zcloud.cli.workers import SERVES, Workers
from zcloud.kernel.keep import Turns
from zcloud.kernel.store import StoreAway, open_store

ANYWHERE = [part for door in workers.DOORS for part in (f"--{door.replace('_', '-')}", "127.0.0.1:0")]
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


def test_a_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """ARC-14: else it would answer at the address, and hold the name, of the one that comes after it."""

    async def go() -> int:
        worker = await begin("zcloud.cli.main", "serve", "--data", tmp_path, "--worker", "first", *ANYWHERE)
        assert worker.stdout is not None
        assert worker.stdin is not None
        async with asyncio.timeout(120):
            assert (await worker.stdout.readline()).startswith(SERVES.encode())
            worker.stdin.close()
            assert await worker.stdout.read() == b""
            return await worker.wait()

    assert asyncio.run(go()) == 0


def test_a_worker_that_served_waits_for_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ARC-12: without ending, so that it takes no core, and is there soon after the store."""
    away = [StoreAway("it restarts")] * 2

    def opened(directory: Path, address: str) -> Any:
        if away:
            raise away.pop()
        return open_store(directory)

    async def go(stopping: bool) -> bool:
        stop = asyncio.Event()
        if stopping:
            stop.set()
        return await serve._store_is_there(argparse.Namespace(data=str(tmp_path), store=""), stop)

    monkeypatch.setattr(serve, "open_store", opened)
    monkeypatch.setattr(serve, "Turns", lambda name: Turns(name, 0.0))
    assert asyncio.run(go(False))
    assert not away
    assert not asyncio.run(go(True))


def test_what_fills_the_read_models_waits_for_its_store_and_ends_with_its_node(tmp_path: Path) -> None:
    """ARC-12: it is not begun again and again while the store is away."""

    async def go() -> tuple[bytes, int]:
        store = f"postgresql:///none?host={tmp_path}"
        arguments = ("--data", tmp_path, "--store", store)
        worker = await begin("projections.worker", *arguments, stderr=asyncio.subprocess.PIPE)
        assert worker.stderr is not None
        assert worker.stdin is not None
        async with asyncio.timeout(120):
            line = await worker.stderr.readline()
            # It has not read that when its node goes.
            worker.stdin.write(b"7 1\n")
            worker.stdin.close()
            await worker.communicate()
            return line, await worker.wait()

    line, status = asyncio.run(go())
    assert b"the read models are written later" in line
    assert status == 1
