"""Watches: what a node looks at again and again, by itself, at an interval that is a setting of the cloud."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from zcloud.domain.operations.global_config import current
from zcloud.domain.operations.settings import known
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.keep import keeper
from zcloud.kernel.record import Record
from zcloud.kernel.unit import Unit

log = logging.getLogger(__name__)
WATCHES: list[type[Watch]] = []


class Watch:
    """class ImageExpunge(Watch, name="image_expunge", interval=("image", "expungeInterval")); each node starts one.

    Of several nodes one looks, the others wait until it is gone. A watch may be killed at any moment, and must do no
    harm when two nodes do the same.
    """

    name: ClassVar[str] = ""
    interval: ClassVar[tuple[str, str]] = ("", "")

    def __init_subclass__(cls, *, name: str, interval: tuple[str, str], **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.name, cls.interval = name, interval
        WATCHES.append(cls)

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._changed = asyncio.Event()
        self._begun = False
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """What is to be done once, when the node starts."""

    async def look(self) -> None:
        """What is to be done at each interval."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin, then look again and again."""
        self.cloud.log.listen(self._on_committed)
        self._task = keeper(self._run, self.name)

    async def close(self) -> None:
        """No more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def decide(self, reason: str, body: Callable[[Unit], Awaitable[Any]]) -> None:
        """Let the system decide something, for a reason that the audit shows."""
        await self.cloud.decide(self.cloud.by_itself(self.name, reason), body)

    def _on_committed(self, records: list[Record]) -> None:
        uuids = known(*self.interval).uuids
        if any(record.resource_uuid in uuids for record in records):
            self._changed.set()

    async def _run(self) -> None:
        while True:
            # A store that is away when the node starts is no reason never to begin.
            self._begun = self._begun or await self._turn(self.begin)
            await self._pause()
            await self._turn(self.look)

    async def _pause(self) -> None:
        """One interval; a new one counts from the moment at which it was set."""
        while True:
            self._changed.clear()
            seconds = float(await current(self.cloud, *self.interval))
            sleeping = asyncio.ensure_future(self.cloud.clock.sleep(seconds))
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({sleeping, changed}, return_when=asyncio.FIRST_COMPLETED)
                if sleeping.done():
                    return
            finally:
                sleeping.cancel()
                changed.cancel()

    async def _turn(self, work: Callable[[], Awaitable[None]]) -> bool:
        return not self.cloud.leases.owns(self.name) or await self._try(work)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it went well."""
        try:
            await work()
        except Exception:
            log.exception("%s: it is tried again at the next interval", self.name)
            return False
        return True
