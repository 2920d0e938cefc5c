"""A node that is overrun: an agent that hears nothing waits longer each time; no handshake is begun in vain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from agents.runtime import session as sessions
from agents.runtime.channel import DIAL_SECONDS, Doors
from agents.runtime.dispatch import Dispatcher
from agents.runtime.journal import Journal
from agents.runtime.outbox import Outbox
from agents.runtime.session import Session
from tests.agents.runtime.node import Authority
from tests.agents.runtime.workbench import until
from zcloud.v1.agent_pb2 import HostInventory

# So much quicker than in earnest.
FASTER = 50


class Dialled(Doors):
    """Keeps how patient the agent was."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint, Authority().issue("host-1"))
        self.patience: list[float] = []

    @asynccontextmanager
    async def dial(self, turn: int, patience: float = DIAL_SECONDS) -> AsyncIterator[grpc.aio.Channel]:
        self.patience.append(patience)
        async with super().dial(turn, patience / FASTER) as channel:
            yield channel


async def inventory() -> HostInventory:
    return HostInventory()


def test_who_hears_nothing_is_more_patient_until_somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PROMPT_SECONDS", 0.15)

    async def no_time(_: float) -> None:
        await asyncio.sleep(0.01)

    async def scenario() -> None:
        silent = socket.create_server(("127.0.0.1", 0))
        doors = Dialled(f"127.0.0.1:{silent.getsockname()[1]}")
        outbox = Outbox()
        dispatcher = Dispatcher(Journal(), [], outbox.put)
        session = Session("host-1", doors, dispatcher, outbox, inventory, lambda: "", sleep=no_time)
        life = asyncio.create_task(session.run())
        try:
            await until(lambda: len(doors.patience) == 3)
            assert doors.patience == [DIAL_SECONDS, 2 * DIAL_SECONDS, 4 * DIAL_SECONDS]
            # Now nobody is there at all, which is said at once.
            silent.close()
            await until(lambda: len(doors.patience) > 4 and doors.patience[-1] == DIAL_SECONDS)
        finally:
            life.cancel()
            await asyncio.wait([life])
            await dispatcher.close()
            await doors.aclose()

    asyncio.run(scenario())
