"""Forgets request ids, and the answers kept under them, when their time is over; without it they only ever grow."""

from __future__ import annotations

import asyncio

from zcloud.domain.operations.global_config import current
from zcloud.kernel.clock import SECOND
from zcloud.processes.watch import Watch


class RequestExpunge(Watch, name="request_expunge", interval=("request", "expungeInterval")):
    """No event: the memory of an answer is no part of what happened."""

    async def begin(self) -> None:
        """A node that is started again and again forgets, too."""
        await self.look()

    async def look(self) -> None:
        """Those that are older than the period."""
        period = int(await current(self.cloud, "request", "expungePeriod"))
        before = self.cloud.clock.now() - period * SECOND
        await asyncio.to_thread(self.cloud.log.recorder.forget_requests, before)
