"""A certificate is renewed in time, once, and only for one that is better."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.runtime import identity as ids
from agents.runtime import renewal
from agents.runtime.channel import Doors
from agents.runtime.dispatch import Dispatcher
from agents.runtime.identity import Identity
from agents.runtime.journal import Journal
from agents.runtime.outbox import Outbox
from agents.runtime.renewal import SPREAD, Renewal
from agents.runtime.session import Session
from tests.agents.runtime.node import Authority
from zcloud.v1.agent_pb2 import CertificateRenewed, HostInventory

AUTHORITY = Authority()


class Agent:
    """What has a certificate, and a clock."""

    def __init__(self, directory: Path, chance: float = 0.0) -> None:
        self.identity = AUTHORITY.issue("host-1")
        (directory / ids.KEY).write_bytes(self.identity.private_key)
        ids.store(directory, self.identity)
        self.now = datetime.now(UTC)
        self.shown: list[Identity] = []
        self.renewal = Renewal(directory, self.identity, self.shown.append, lambda: self.now, lambda: chance)

    def later(self, share: float) -> None:
        """When so much of the certificate's life is over."""
        begin, end = ids.begin(self.identity), ids.end(self.identity)
        self.now = begin + (end - begin) * share


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_it_is_asked_for_when_a_third_is_left_by_some_a_little_later(tmp_path: Path, chance: float) -> None:
    async def scenario() -> None:
        agent = Agent(tmp_path, chance)
        moment = 2 / 3 + SPREAD * chance
        agent.later(moment - 0.01)
        assert agent.renewal.request("host-1") is None
        agent.later(moment + 0.01)
        asked = agent.renewal.request("host-1")
        assert asked is not None
        assert agent.renewal.request("host-1") is None, "the answer is on its way"

    asyncio.run(scenario())


def test_what_the_node_gives_is_kept_shown_and_lasts(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = Agent(tmp_path)
        agent.later(0.9)
        asked = agent.renewal.request("host-1")
        assert asked is not None
        # Certificates count seconds.
        await asyncio.sleep(1.1)
        new = AUTHORITY.grant(asked.certificate_request)
        agent.renewal.take(CertificateRenewed(certificate=new.decode()))
        kept = ids.load(tmp_path)
        assert kept is not None
        assert (kept.certificate, kept.private_key) == (new, agent.identity.private_key)
        assert agent.shown == [kept]
        agent.now = datetime.now(UTC)
        assert agent.renewal.request("host-1") is None
        agent.now += timedelta(days=1)
        assert agent.renewal.request("host-1") is not None, "and the next one when its time has come"

    asyncio.run(scenario())


def test_what_is_no_better_is_refused_and_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "AGAIN_SECONDS", 0.0)

    async def scenario() -> None:
        agent = Agent(tmp_path)
        agent.later(0.9)
        for wrong in (AUTHORITY.issue("host-1").certificate, agent.identity.certificate, b"", b"no certificate"):
            assert agent.renewal.request("host-1") is not None
            agent.renewal.take(CertificateRenewed(certificate=wrong.decode()))
        assert ids.load(tmp_path) == agent.identity
        assert agent.shown == []

    asyncio.run(scenario())


def test_an_agent_that_went_on_past_the_end_says_why_no_node_takes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The node only closes the connection, so that nobody else can say it (HST-01)."""
    agent = Agent(tmp_path)

    async def inventory() -> HostInventory:
        return HostInventory()

    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.name == "agents.runtime.session"]

    async def slept(_: float) -> None:
        agent.later(1.0)
        if len(said()) == 2:
            raise asyncio.CancelledError

    async def scenario() -> None:
        outbox = Outbox()
        dispatcher = Dispatcher(Journal(), [], outbox.put)
        doors = Doors("127.0.0.1:1", agent.identity)
        session = Session(
            "host-1", doors, dispatcher, outbox, inventory, lambda: "", sleep=slept, renewal=agent.renewal
        )
        life = asyncio.create_task(session.run())
        await asyncio.wait([life])
        await dispatcher.close()
        await doors.aclose()

    with caplog.at_level(logging.WARNING, "agents.runtime.session"):
        asyncio.run(scenario())
    before, after = said()
    assert "no session" in before
    assert "ended" not in before
    assert f"the certificate in {tmp_path} has ended on {ids.end(agent.identity)}" in after
