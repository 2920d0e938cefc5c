"""Wakes those who watch the log when it has grown."""

from __future__ import annotations

import asyncio

from zcloud.kernel.log import Log


class Growth:
    """Any number of watchers, each with an event of its own."""

    def __init__(self, log: Log) -> None:
        self._watchers: set[asyncio.Event] = set()
        log.listen(lambda _: self._wake())

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def subscribe(self) -> asyncio.Event:
        """Set whenever the log has grown."""
        made = asyncio.Event()
        self._watchers.add(made)
        return made

    def unsubscribe(self, watcher: asyncio.Event) -> None:
        """No longer."""
        self._watchers.discard(watcher)
