"""Processes that this one starts and keeps, and what they know of who started them."""

from __future__ import annotations

import asyncio
import contextlib
import select
import sys
from typing import Any

END_SECONDS = 5.0


async def begin(module: str, *arguments: object, **options: Any) -> asyncio.subprocess.Process:
    """A module of ours, in a process of its own. It ends when its input does, and so with this one."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is this process's to answer
        **options,
    )


async def ended(process: asyncio.subprocess.Process, seconds: float = END_SECONDS) -> int:
    """How it ended, which it was told to or did by itself; one that does not in time is killed."""
    try:
        return await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        kill(process)
        return await process.wait()


def kill(process: asyncio.subprocess.Process) -> None:
    """Nobody has any use for it, if it still lives."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def gone(process: asyncio.subprocess.Process, seconds: float = END_SECONDS) -> None:
    """Wait for one that was killed. One that hangs in the kernel is left to it."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), seconds)


def alone_within(seconds: float) -> bool:
    """In the child: rest for so long, unless whoever holds the other end of its input goes meanwhile."""
    poll = select.poll()
    poll.register(0, 0)  # its end is seen though there is more to read
    return bool(poll.poll(seconds * 1000))
