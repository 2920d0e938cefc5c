"""Progress of one task, thinned out to what people can read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zcloud.v1.agent_pb2 import ConnectRequest, TaskProgress


class Progress:
    """Sends at most one message per interval, the newest; the last one is not lost.

    update() may be called from any thread, since handlers do blocking work in threads.
    """

    def __init__(
        self, task_uuid: str, send: Callable[[ConnectRequest], None], clock: Callable[[], float], interval: float
    ) -> None:
        self._task_uuid = task_uuid
        self._send = send
        self._clock = clock
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._sent_at: float | None = None
        self._waiting: tuple[int, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def update(self, percent: int, detail: str) -> None:
        """Say how far the task is."""
        self._loop.call_soon_threadsafe(self._take, percent, detail)

    def close(self) -> None:
        """Nothing is said after the report."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, percent: int, detail: str) -> None:
        if self._closed:
            return
        self._waiting = (percent, detail)
        elapsed = self._interval if self._sent_at is None else self._clock() - self._sent_at
        if elapsed >= self._interval:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._interval - max(0.0, elapsed), self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting is None or self._closed:
            return
        percent, detail = self._waiting
        self._waiting = None
        self._sent_at = self._clock()
        progress = TaskProgress(task_uuid=self._task_uuid, percent=percent, detail=detail)
        self._send(ConnectRequest(progress=progress))
