"""Helpers that end at the worst moment: what is said of it is why, and not that the connection was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from agents.runtime.task import TaskError, Work
from agents.storage import remote_helper
from agents.storage.remote_helper import call_helper, put_file


class Ended:
    """A helper whose standard input is closed."""

    def __init__(self, status: int | None, *, hears: bool) -> None:
        self.exit_status = status
        self.stdin = self.stdout = self.stderr = self
        self._quiet = asyncio.Event()
        if hears:
            self._quiet.set()

    def write(self, _: str) -> None:
        raise BrokenPipeError("Channel not open for sending")

    async def __aiter__(self) -> AsyncIterator[str]:
        await self._quiet.wait()
        for line in ():
            yield line

    async def wait_closed(self) -> None:
        pass

    async def read(self) -> str:
        return "Traceback\nSyntaxError: invalid syntax\n"


def session(process: Ended) -> Any:
    @asynccontextmanager
    async def create_process(*_: Any, **__: Any) -> AsyncIterator[Ended]:
        yield process

    return SimpleNamespace(place="store.example", connection=SimpleNamespace(create_process=create_process))


@pytest.mark.parametrize(("status", "reason", "words"), [(1, "FAILED", "SyntaxError"), (None, "UNREACHABLE", "lost")])
def test_a_helper_that_ended_before_it_was_asked(status: int | None, reason: str, words: str) -> None:
    async def go() -> None:
        await call_helper(session(Ended(status, hears=True)), "helper.py", {})

    with pytest.raises(TaskError, match=words) as failed:
        asyncio.run(go())
    assert failed.value.reason == reason


def test_a_helper_that_ends_while_it_is_told_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_helper, "GIVE_UP_SECONDS", 0.01)

    async def go() -> None:
        work = Work("task", "resource", 1, lambda *_: None)
        work.aborted.set()
        await call_helper(session(Ended(1, hears=False)), "helper.py", {}, work)

    with pytest.raises(TaskError) as failed:
        asyncio.run(go())
    assert failed.value.reason == "ABORTED"


class Files:
    """As much of SFTP as is needed to write: a name, and what it leads to for whoever has it open."""

    def __init__(self) -> None:
        self.there: dict[str, bytearray] = {}
        self.opened = 0
        self.both = asyncio.Event()

    @asynccontextmanager
    async def open(self, name: str, *_: Any) -> AsyncIterator[Any]:
        file = self.there.setdefault(name, bytearray())
        file.clear()
        self.opened += 1
        first = self.opened == 1

        async def write(content: bytes) -> None:
            if not first:
                self.both.set()
                await asyncio.sleep(0)
            file.extend(content)
            if first:
                await self.both.wait()

        yield SimpleNamespace(write=write)

    async def posix_rename(self, old: str, new: str) -> None:
        self.there[new] = self.there.pop(old)
        assert self.there[new] == b"program", "half of it could be run"


def test_two_that_write_a_file_at_once_do_not_spoil_it_for_each_other() -> None:
    async def go() -> None:
        files: Any = Files()
        await asyncio.gather(*(put_file(files, b"program", "helper") for _ in range(2)))
        assert files.there == {"helper": b"program"}

    asyncio.run(go())
