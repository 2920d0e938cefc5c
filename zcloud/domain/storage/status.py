"""Status of a storage: health of its command channel, in a stream beside the storage."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class Status(enum.Enum):
    """Only a completed connect makes a storage Connected."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"


class StorageStatus(Companion):
    """What primary and backup storages have in common."""

    status: Status = Status.CONNECTING
    status_reason: str = ""

    class Connecting(Event):
        """A connect has begun."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = Status.CONNECTING, ""

    class Connected(Event):
        """The connect is complete: the storage may be used."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = Status.CONNECTED, ""

    class Disconnected(Event):
        """It does not answer, or the connect failed."""

        reason: str

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = Status.DISCONNECTED, self.reason

    def connecting(self) -> None:
        """A connect begins."""
        if self.status is not Status.CONNECTING or self.version == 0:
            self.trigger(self.Connecting())

    def connected(self) -> None:
        """Only what has completed a connect may say so; a ping never does."""
        if self.status is not Status.CONNECTED:
            self.trigger(self.Connected())

    def disconnected(self, reason: str) -> None:
        """Lost; saying so again is no event."""
        if self.status is not Status.DISCONNECTED:
            self.trigger(self.Disconnected(reason=reason))
