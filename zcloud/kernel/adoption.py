"""Jobs of nodes that are gone, or that have more than their share: this one drives them from now on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from zcloud.kernel.cloud import Cloud
from zcloud.kernel.errors import Refused
from zcloud.kernel.leases import partition_of

log = logging.getLogger(__name__)
RETRY_SECONDS = 1.0


class Adoption:
    """active: uuids of all jobs that have not ended. drive, drop: begin with a job, end with those of partitions."""

    def __init__(
        self,
        cloud: Cloud,
        active: Callable[[], Awaitable[list[str]]],
        drive: Callable[[str], None],
        drop: Callable[[frozenset[int]], None],
    ) -> None:
        self._cloud, self._active, self._drive, self._drop = cloud, active, drive, drop
        self._looking: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Follow the leases."""
        self._cloud.leases.listen(self._on_change)

    async def close(self) -> None:
        """Nothing more is adopted."""
        for task in list(self._looking):
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)

    def _on_change(self, gained: frozenset[int], lost: frozenset[int]) -> None:
        if lost:
            self._drop(lost)
        if gained:
            task = asyncio.get_running_loop().create_task(self._adopt(gained), name="adopt-jobs")
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _adopt(self, parts: frozenset[int]) -> None:
        while True:
            try:
                active = await self._active()
                break
            except Refused as refused:
                log.warning("jobs of other nodes are taken over later: %s", refused.message)
                await self._cloud.clock.sleep(RETRY_SECONDS)
        for job_uuid in active:
            if partition_of(job_uuid) in parts:
                self._drive(job_uuid)
