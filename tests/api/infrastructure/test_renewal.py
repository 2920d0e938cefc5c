"""Certificates at the agents' real doors: theirs are renewed over the session, those of the doors at a handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.runtime import identity as ids
from agents.runtime.enroll import enroll
from agents.simulator.fleet import Fleet
from agents.simulator.host import SimulatedHost
from tests.support.cloud import Api, add_simulator, host_connected, running_node, simulator_cluster, until
from zcloud.api.pki import NODE_DAYS, NODE_NAME, Authority

# The first life of a certificate that is to end; one in which a busy machine opens no session is doubled.
SECONDS = 4.0
DAY = 24 * 3600


async def fleet_of(api: Api, directory: Path) -> Fleet:
    issued = await api.call("IssueEnrollToken")
    identity = await enroll(directory, issued.enroll_endpoint, issued.token, issued.ca_fingerprint, "simulator")
    return Fleet(issued.agent_endpoint, identity, kept=directory)


def identity(directory: Path) -> ids.Identity:
    found = ids.load(directory)
    assert found is not None
    return found


def shown_until(endpoint: str, authority: Authority) -> datetime:
    """When the certificate ends that a door shows just now."""
    host, _, port = endpoint.rpartition(":")
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=NODE_NAME) as secure,
    ):
        ends = (secure.getpeercert() or {})["notAfter"]
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC)


async def connected_by_one_that_ends(
    api: Api, host: SimulatedHost, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Fleet, datetime]:
    """A host whose session was opened by a certificate that ends soon, and when that is."""
    life = SECONDS

    async def connected() -> bool:
        return api.node.agents.connected(host.host_uuid) is not None

    while True:
        monkeypatch.setattr(api.node.authority, "agent_days", life / DAY)
        fleet = await fleet_of(api, directory)
        ends = ids.end(identity(directory))
        monkeypatch.setattr(api.node.authority, "agent_days", 30)
        fleet.start(host)
        try:
            await until(connected, life)
        except TimeoutError:
            await fleet.stop()
            life *= 2
        else:
            return fleet, ends


def test_a_session_outlives_its_certificate_and_the_next_one_begins_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with running_node(tmp_path / "node") as api:
            _, cluster = await simulator_cluster(api)
            host = await add_simulator(api, cluster)
            node = api.node
            with tempfile.TemporaryDirectory() as place:
                directory = Path(place)
                fleet, ends = await connected_by_one_that_ends(api, host, directory, monkeypatch)
                try:
                    await host_connected(api, host.host_uuid)
                    first = node.agents.connected(host.host_uuid)
                    assert first is not None

                    async def expired() -> bool:
                        return datetime.now(UTC) > ends and ids.end(identity(directory)) > ends

                    await until(expired, 60 + 2 * (ends - datetime.now(UTC)).total_seconds())
                    assert node.agents.connected(host.host_uuid) is first, "nothing was interrupted"
                    first.close()

                    async def back() -> bool:
                        return node.agents.connected(host.host_uuid) not in (None, first)

                    await until(back)
                finally:
                    await fleet.stop()

    asyncio.run(body())


def test_an_expired_certificate_opens_no_door_and_a_token_brings_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with running_node(tmp_path / "node") as api:
            _, cluster = await simulator_cluster(api)
            host = await add_simulator(api, cluster)
            with tempfile.TemporaryDirectory() as place:
                directory = Path(place)
                monkeypatch.setattr(api.node.authority, "agent_days", 0)
                fleet = await fleet_of(api, directory)
                monkeypatch.setattr(api.node.authority, "agent_days", 30)
                await asyncio.sleep(1.1)
                fleet.start(host)
                await asyncio.sleep(1)
                assert not api.node.agents.reaches(host.host_uuid)
                await fleet.stop()
                key = identity(directory).private_key
                fleet = await fleet_of(api, directory)
                assert identity(directory).private_key == key
                try:
                    fleet.start(host)
                    await host_connected(api, host.host_uuid)
                finally:
                    await fleet.stop()

    asyncio.run(body())


def test_doors_renew_their_certificates_while_agents_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that has run for a year without a restart, as the clock of its certificates says (HST-01, ARC-14)."""
    year, real = timedelta(days=NODE_DAYS), datetime.now(UTC)
    monkeypatch.setattr(Authority, "agent_days", 2.0 * NODE_DAYS)

    def turn(by: timedelta) -> None:
        made_at: Callable[[Authority], datetime] = lambda _: real - by  # noqa: E731
        monkeypatch.setattr(Authority, "now", made_at)

    async def body() -> None:
        turn(year - timedelta(days=1))
        async with running_node(tmp_path / "node") as api:
            node, door = api.node, api.node.door
            assert door is not None
            _, cluster = await simulator_cluster(api)
            host, late = await add_simulator(api, cluster), await add_simulator(api, cluster)

            async def left() -> list[timedelta]:
                doors = (door.agent_endpoint, door.enroll_endpoint)
                return [await asyncio.to_thread(shown_until, each, node.authority) - real for each in doors]

            with tempfile.TemporaryDirectory() as place:
                fleet = await fleet_of(api, Path(place))
                try:
                    fleet.start(host)
                    await host_connected(api, host.host_uuid)
                    first = node.agents.connected(host.host_uuid)
                    assert first is not None
                    assert max(await left()) <= timedelta(days=1)
                    turn(timedelta())
                    assert min(await left()) >= year - timedelta(days=1)
                    fleet.start(late)
                    await host_connected(api, late.host_uuid)
                    assert node.agents.connected(host.host_uuid) is first, "nothing was interrupted"
                    first.close()

                    async def back() -> bool:
                        return node.agents.connected(host.host_uuid) not in (None, first)

                    await until(back)
                    await fleet_of(api, Path(place))
                finally:
                    await fleet.stop()

    asyncio.run(body())
