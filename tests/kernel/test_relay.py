"""Tasks of other nodes' jobs go to the agents that are connected here, whoever drives them and when that changes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from zcloud.kernel.leases import PARTITIONS
from zcloud.kernel.relay import Relay


class Node:
    """A relay among what it speaks with."""

    def __init__(self) -> None:
        self.owns, self.connected, self.sent = False, True, list[str]()
        leases = SimpleNamespace(owns=lambda _: self.owns)
        log = SimpleNamespace(listen=lambda _: None)
        transport = SimpleNamespace(reaches=lambda _: self.connected)
        cloud: Any = SimpleNamespace(leases=leases, log=log)
        self.relay = Relay(cloud, transport, self.send, lambda _: None)  # type: ignore[arg-type]
        self.relay.start()
        self.relay.know([SimpleNamespace(uuid="job", task_uuid="task", target="host")])  # type: ignore[list-item]

    async def send(self, job_uuid: str, task_uuid: str, final: bool) -> None:
        del job_uuid, final
        self.sent.append(task_uuid)

    async def rest(self) -> list[str]:
        """What was sent by now."""
        await asyncio.gather(*self.relay._sending)
        return self.sent


def test_who_hands_a_job_over_and_has_its_agent_sends_what_the_new_driver_cannot() -> None:
    """MN-02: its own driver may have waited until the host was connected, and is gone now."""

    async def body() -> None:
        node = Node()
        node.owns = True
        node.relay.connected("host")
        assert await node.rest() == []
        node.owns = False
        node.connected = False
        node.relay.dropped(frozenset(range(PARTITIONS)))
        assert await node.rest() == []
        node.connected = True
        node.relay.dropped(frozenset())
        assert await node.rest() == []
        node.relay.dropped(frozenset(range(PARTITIONS)))
        assert await node.rest() == ["task"]

    asyncio.run(body())


def test_what_the_log_told_meanwhile_is_newer_than_what_was_found() -> None:
    async def body() -> None:
        node = Node()
        node.relay.know([SimpleNamespace(uuid="job", task_uuid="older", target="host")])  # type: ignore[list-item]
        node.relay.connected("host")
        assert await node.rest() == ["task"]

    asyncio.run(body())
