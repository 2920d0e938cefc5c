"""Jobs of nodes that are gone, or that have more than their share: this one drives them from now on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from zcloud.kernel.cloud import Cloud
from zcloud.kernel.keep import keep
from zcloud.kernel.leases import partition_of

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
            work = keep(lambda: self._adopt(gained), "adopt-jobs", RETRY_SECONDS, self._cloud.clock.sleep)
            task = asyncio.get_running_loop().create_task(work, name="adopt-jobs")
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _adopt(self, parts: frozenset[int]) -> None:
        for job_uuid in await self._active():
            if partition_of(job_uuid) in parts:
                self._drive(job_uuid)
