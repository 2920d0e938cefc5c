"""Processes that this one starts and keeps."""

from __future__ import annotations

import asyncio
import contextlib

END_SECONDS = 5.0


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
