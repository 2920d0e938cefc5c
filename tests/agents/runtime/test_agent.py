"""A whole agent: first start, stop by signal, second start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from pathlib import Path

import pytest

from agents.runtime import journal
from agents.runtime.agent import AgentConfig, run_agent
from agents.runtime.config import ConfigError
from agents.runtime.journal import JournalError
from tests.agents.runtime.node import Authority, Node
from tests.agents.runtime.workbench import Start, start_task, until
from zcloud.v1.agent_pb2 import HostInventory

AUTHORITY = Authority()


async def inventory() -> HostInventory:
    return HostInventory()


def written(tmp_path: Path, node: Node) -> Path:
    path = tmp_path / "agent.json"
    config = {
        "host_uuid": "host-1",
        "agent_endpoint": node.endpoint,
        "enroll_endpoint": node.enroll_endpoint,
        "token": "token-1",
        "ca_fingerprint": AUTHORITY.fingerprint,
        "directory": str(tmp_path / "agent"),
        "extra": {"libvirt_uri": "qemu:///system"},
    }
    path.write_text(json.dumps(config))
    return path


async def finished(life: asyncio.Task[None]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await life


def test_enrols_once_works_stops_on_sigterm_and_settles_what_it_had_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PATIENCE_SECONDS", 0.05)

    async def scenario() -> None:
        handler = Start()
        handler.gate = asyncio.Event()
        async with Node(AUTHORITY).serving() as node:
            path = written(tmp_path, node)
            config = AgentConfig.load(path)
            assert config.extra == {"libvirt_uri": "qemu:///system"}
            assert "token-1" not in repr(config)
            life = asyncio.create_task(run_agent(config, [handler], inventory, lambda: ""))
            await until(lambda: node.streams and node.streams[0].of("inventory"))
            kept = json.loads(path.read_text())
            assert "token" not in kept
            assert kept["extra"] == {"libvirt_uri": "qemu:///system"}
            await node.streams[0].send(task=start_task())
            await until(lambda: handler.running)
            with pytest.raises(JournalError, match="another agent or node that has it runs"):
                await run_agent(config, [handler], inventory, lambda: "")
            # The second agent took the signals with it when it went.
            life.cancel()
            await asyncio.wait([life])
            assert (handler.starts, handler.running) == ([], 0)

            handler.gate = None
            life = asyncio.create_task(run_agent(AgentConfig.load(path), [handler], inventory, lambda: ""))
            await until(lambda: len(node.streams) == 2 and node.streams[1].of("inventory"))
            assert node.streams[1].of("report") == [], "a task that was broken off has no outcome"
            await node.streams[1].send(task=start_task())
            await until(lambda: node.streams[1].of("report"))
            assert (handler.starts, handler.probes) == (["vm-1"], ["vm-1"])
            await finished(life)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    asyncio.run(scenario())


def test_waits_for_a_node_that_is_not_there_and_stops_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node(AUTHORITY, port=1)
        node.enroll_port = 1
        path = written(tmp_path, node)
        life = asyncio.create_task(run_agent(AgentConfig.load(path), [Start()], inventory, lambda: ""))
        await asyncio.sleep(0.3)
        assert not life.done()
        assert json.loads(path.read_text())["token"] == "token-1", "it will be needed"
        await finished(life)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("{", "agent configuration"), ('{"host_uuid": 3}', "host_uuid"), ("{}", "host_uuid")],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "agent.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=words) as refusal:
        AgentConfig.load(path)
    assert str(path) in str(refusal.value)
