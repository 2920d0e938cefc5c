"""Many simulated hosts in one process: a session each, over a few shared connections."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.runtime.channel import Doors
from agents.runtime.dispatch import Dispatcher
from agents.runtime.identity import Identity
from agents.runtime.journal import Journal
from agents.runtime.outbox import Outbox
from agents.runtime.renewal import Renewal
from agents.runtime.session import Session
from agents.simulator.host import SimulatedHost

# HTTP/2 servers commonly take a hundred streams on a connection.
STREAMS_PER_CHANNEL = 100


class Fleet:
    """Runs hosts from start() to stop(). Journals are in memory: they end with the worlds that they are about."""

    def __init__(
        self, endpoint: str, identity: Identity, streams: int = STREAMS_PER_CHANNEL, kept: Path | None = None
    ) -> None:
        """streams: sessions on one connection; hosts that are real have one each. kept: where the identity lies."""
        self._endpoint = endpoint
        self._streams = streams
        self._identity = identity
        self._renewal = Renewal(kept, identity, self._show) if kept is not None else None
        self._doors: list[Doors] = []
        self._sessions: list[tuple[Session, Dispatcher, asyncio.Task[None]]] = []

    def start(self, host: SimulatedHost) -> None:
        """Let one more host dial in."""
        if len(self._sessions) % self._streams == 0:
            self._doors.append(Doors(self._endpoint, self._identity))
        host.world.sends = True
        outbox = Outbox()
        dispatcher = Dispatcher(Journal(), host.handlers(), outbox.put)
        session = Session(
            host.host_uuid,
            self._doors[-1],
            dispatcher,
            outbox,
            host.inventory,
            host.hypervisor_error,
            changes=host.changes,
            renewal=self._renewal,
        )
        task = asyncio.create_task(session.run(), name=f"session of {host.host_uuid}")
        self._sessions.append((session, dispatcher, task))

    def _show(self, identity: Identity) -> None:
        self._identity = identity
        for doors in self._doors:
            doors.show(identity)

    async def connected(self) -> None:
        """Return when each host has been welcomed."""
        for session, _, _ in self._sessions:
            await session.connected.wait()

    async def stop(self) -> None:
        """Hang up and stop all work."""
        for _, _, task in self._sessions:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in self._sessions), return_exceptions=True)
        for _, dispatcher, _ in self._sessions:
            await dispatcher.close()
        for doors in self._doors:
            await doors.aclose()
