"""Agents' certificates at the real door: renewed over the session, of use at the next one, and of none when expired."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.runtime import identity as ids
from agents.runtime.enroll import enroll
from agents.simulator.fleet import Fleet
from tests.support.cloud import Api, add_simulator, host_connected, running_node, simulator_cluster, until

SECONDS = 4
DAY = 24 * 3600


async def fleet_of(api: Api, directory: Path) -> Fleet:
    issued = await api.call("IssueEnrollToken")
    identity = await enroll(directory, issued.enroll_endpoint, issued.token, issued.ca_fingerprint, "simulator")
    return Fleet(issued.agent_endpoint, identity, kept=directory)


def identity(directory: Path) -> ids.Identity:
    found = ids.load(directory)
    assert found is not None
    return found


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
                monkeypatch.setattr(node.authority, "agent_days", SECONDS / DAY)
                fleet = await fleet_of(api, directory)
                ends = ids.end(identity(directory))
                monkeypatch.setattr(node.authority, "agent_days", 30)
                try:
                    fleet.start(host)
                    await host_connected(api, host.host_uuid)
                    first = node.agents.connected(host.host_uuid)
                    assert first is not None

                    async def expired() -> bool:
                        return datetime.now(UTC) > ends and ids.end(identity(directory)) > ends

                    await until(expired)
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
