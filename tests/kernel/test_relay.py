"""Tasks of other nodes' jobs go to the agents that are connected here, whoever drives them and when that changes."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from zcloud.kernel.leases import PARTITIONS
from zcloud.kernel.relay import Relay


class Node:
    """A relay among what it speaks with."""

    def __init__(self) -> None:
        self.owns, self.connected, self.sent = False, True, list[str]()
        self.aborted: list[str] = []
        self.known = asyncio.Event()
        self.known.set()
        leases = SimpleNamespace(owns=lambda _: self.owns)
        log = SimpleNamespace(listen=lambda _: None, newest=self.known.wait)
        transport = SimpleNamespace(
            reaches=lambda _: self.connected, abort=lambda _, task_uuid: self.aborted.append(task_uuid)
        )
        cloud: Any = SimpleNamespace(leases=leases, log=log)
        self.relay = Relay(cloud, transport, self.send, self.again, lambda _: None)  # type: ignore[arg-type]
        self.relay.start()
        self.know("job", "task")

    def know(self, uuid: str, task_uuid: str, *, cancelled: bool = False, undoing: bool = False) -> None:
        """A job that waits for a task, as it was found at the start."""
        job: Any = SimpleNamespace(uuid=uuid, task_uuid=task_uuid, target="host", undoing=undoing)
        job.cancel_requested = cancelled
        self.relay.know([job])

    def hear(self, topic: str, job_uuid: str = "job", **fields: Any) -> None:
        """The log tells of a job."""
        record: Any = SimpleNamespace(topic=topic, schema=1, state=json.dumps(fields).encode())
        self.relay._take(job_uuid, record)

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
        node.know("job", "older")
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
        node.hear("job.StepSkipped")
        node.known.set()
        assert await node.rest() == ["all of host"]

    asyncio.run(body())


def test_an_agent_that_dials_in_hears_at_once_what_was_cancelled_meanwhile() -> None:
    """ARC-13: it may be at it; until its host is connected in full the task cannot be made and sent again."""

    async def body() -> None:
        node = Node()
        node.connected = False
        node.hear("job.CancelRequested")
        node.know("found", "found-task", cancelled=True)
        node.know("wanted", "wanted-task")
        assert node.aborted == []
        node.connected = True
        node.relay.connected("host", waits=False)
        assert await node.rest() == ["all of host", "task", "found-task", "wanted-task"]
        assert node.aborted == ["task", "found-task"]
        assert node.relay.unwanted("job")

    asyncio.run(body())


def test_what_undoes_something_is_not_aborted_by_a_cancel() -> None:
    """ARC-13: an undo that gave up would leave the job stuck."""

    async def body() -> None:
        node = Node()
        task = {"task": "toy", "target": "host", "deadline": 1}
        node.hear("job.StepFailed", index=0, reason="", error="")
        node.aborted.clear()  # no report had come in time
        node.hear("job.StepDispatched", index=0, undo=True, task_uuid="undo", **task)
        node.hear("job.CancelRequested")
        node.know("found", "found-undo", cancelled=True, undoing=True)
        node.relay.connected("host", waits=False)
        await node.rest()
        assert node.aborted == []
        node.hear("job.Finished", state="Failed")
        node.hear("job.StepDispatched", index=0, task_uuid="another", **task)
        assert not node.relay.unwanted("job")

    asyncio.run(body())


def test_an_agent_that_nothing_waits_for_costs_no_look_into_the_store() -> None:
    async def body() -> None:
        node = Node()
        node.known.clear()
        node.relay.connected("another", waits=False)
        assert await node.rest() == []

    asyncio.run(body())
