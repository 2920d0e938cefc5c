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
        self.known = asyncio.Event()
        self.known.set()
        leases = SimpleNamespace(owns=lambda _: self.owns)
        log = SimpleNamespace(listen=lambda _: None, newest=self.known.wait)
        transport = SimpleNamespace(reaches=lambda _: self.connected)
        cloud: Any = SimpleNamespace(leases=leases, log=log)
        self.relay = Relay(cloud, transport, self.send, self.again, lambda _: None)  # type: ignore[arg-type]
        self.relay.start()
        self.relay.know([SimpleNamespace(uuid="job", task_uuid="task", target="host")])  # type: ignore[list-item]

    async def send(self, job_uuid: str, task_uuid: str, final: bool) -> None:
        del job_uuid, final
        self.sent.append(task_uuid)

    def again(self, target: str) -> None:
        self.sent.append(f"all of {target}")

    async def rest(self) -> list[str]:
        """What was sent by now."""
        while self.relay._sending:
            await asyncio.gather(*self.relay._sending)
        return self.sent


def test_who_hands_a_job_over_and_has_its_agent_sends_what_the_new_driver_cannot() -> None:
    """MN-02: its own driver may have waited until the host was connected, and is gone now."""

    async def body() -> None:
        node = Node()
        node.owns = True
        node.relay.connected("host", waits=False)
        assert await node.rest() == ["all of host"]
        node.sent.clear()
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
        node.relay.connected("host", waits=False)
        assert await node.rest() == ["all of host", "task"]

    asyncio.run(body())


def test_what_others_have_given_up_while_this_node_stood_still_is_not_sent() -> None:
    """ARC-14: the agent has never heard of it, and would do it now, when nobody waits for it any more."""

    async def body() -> None:
        node = Node()
        node.known.clear()
        node.relay.connected("host", waits=True)
        await asyncio.sleep(0)
        assert node.sent == []
        node.relay._take("job", SimpleNamespace(topic="job.StepSkipped"))  # type: ignore[arg-type]
        node.known.set()
        assert await node.rest() == ["all of host"]

    asyncio.run(body())


def test_an_agent_that_nothing_waits_for_costs_no_look_into_the_store() -> None:
    async def body() -> None:
        node = Node()
        node.known.clear()
        node.relay.connected("another", waits=False)
        assert await node.rest() == []

    asyncio.run(body())
