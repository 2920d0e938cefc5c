"""The agents' doors with random messages (reliability 5): never our own failure, and nobody speaks for another."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import Ground, ground
from tests.fuzz.agents import Agent, Enrolling, Papers, Told, doors, papers
from tests.fuzz.door import OURS, Complaints
from tests.fuzz.fuzz import facts
from tests.fuzz.messages import Messages, harvest
from tests.support.cloud import ApiError, until
from zcloud.api.pki import Authority
from zcloud.api.rpcs import rpcs
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.snapshot import load

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]
# `make faults FUZZ=10000` takes so many of each.
LEAST = int(os.environ.get("FUZZ") or 500)
EACH = 12
# Of so many tasks something was reported at least.
ASKED = 10


async def known(here: Ground) -> Messages:
    """What there is, so that random messages may be about it."""
    uuids: dict[str, list[str]] = {}
    said: list[Any] = []
    for name, rpc in rpcs().items():
        if name.startswith("Query") and rpc.kind:
            found = (await here.api.call(name, page_size=50)).inventories
            said += found
            uuids[rpc.kind] = [i.uuid for i in found if hasattr(i, "uuid")]
    return Messages(random.Random(7), uuids, harvest(said), {})


def run(tmp_path: Path, body: Any) -> None:
    complaints = Complaints()

    async def go() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: complaints.said.append(f"{told}"))
        async with ground(tmp_path / "data", 3) as here:
            await body(here)

    logging.getLogger().addHandler(complaints)
    logging.disable(logging.WARNING)
    try:
        asyncio.run(go())
    finally:
        logging.disable(logging.NOTSET)
        logging.getLogger().removeHandler(complaints)
    assert complaints.said == []


def test_who_may_not_speak_for_a_host_changes_nothing(tmp_path: Path) -> None:
    """A host's certificate for another host, a stranger's authority, no certificate, no hello: nothing is written."""

    async def body(here: Ground) -> None:
        node, told = here.api.node, Told()
        other = papers(tmp_path / "other", node, f"host/{here.hosts[1].host_uuid}")
        strange = papers(tmp_path / "strange", node, "simulator", Authority(tmp_path / "authority"))
        agent = Agent(random.Random(1), await known(here), told)
        head = node.cloud.log.head
        async with doors(node.door.agent_endpoint, other, strange, Papers(node.authority.pem)) as channels:
            codes = [await agent.session(channels[0], here.host.host_uuid, 3) for _ in range(30)]
            assert set(codes) <= {"PERMISSION_DENIED", "CANCELLED", "CLOSED"}
            assert await agent.told_why(channels[0], here.host.host_uuid) == "PERMISSION_DENIED"
            for channel in channels[1:]:
                assert await agent.session(channel, here.host.host_uuid, 3) == "UNAVAILABLE"
        assert node.cloud.log.head == head
        assert node.agents.connected(here.host.host_uuid) is not None
        assert await here.state((await here.create()).uuid) == "RUNNING"

    run(tmp_path, body)


def test_no_message_of_an_agent_breaks_the_node(tmp_path: Path) -> None:
    """What an agent says may be nonsense, of its own tasks, too; jobs end, and the books are those of the log."""

    async def body(here: Ground) -> None:
        node, told, chance = here.api.node, Told(), random.Random(2)
        right = papers(tmp_path / "right", node, "simulator")
        agent = Agent(chance, await known(here), told)
        await here.create()
        asked = asyncio.create_task(asking(here, chance))
        async with doors(node.door.agent_endpoint, right) as channels:
            while told.messages < LEAST or (len(told.tasks) < ASKED and told.messages < 100 * LEAST):
                codes = {await agent.session(channels[0], chance.choice(here.hosts).host_uuid, EACH)}
                assert not codes & {*OURS, "CUT OFF"}, codes
        asked.cancel()
        (ended,) = await asyncio.gather(asked, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended
        assert len(told.tasks) >= ASKED
        await consistent(here)

    run(tmp_path, body)


async def asking(here: Ground, chance: random.Random) -> None:
    """Meanwhile people want things of the hosts."""
    while True:
        vms = (await here.api.call("QueryVmInstance")).inventories
        verb = chance.choice(("Start", "Stop", "Pause", "Resume", "Reboot", "Delete", "Create"))
        try:
            if verb == "Create" or not vms:
                await here.api.call("CreateVmInstance", **here.fields())
            else:
                await here.api.call(f"{verb}VmInstance", uuid=chance.choice(vms).uuid)
        except ApiError as error:
            if error.code in OURS:
                raise
        await asyncio.sleep(0.02)


async def consistent(here: Ground) -> None:
    """Everything that there is can be read, and the node's memory is what the log says."""
    node = here.api.node

    async def settled() -> bool:
        head = node.cloud.log.head
        await asyncio.sleep(0.2)
        return bool(node.cloud.log.head == head)

    await until(settled)
    for name, rpc in rpcs().items():
        if name.startswith("Query") and rpc.kind:
            await here.api.call(name, page_size=1000)
    for stream in list(node.cloud._cache):
        remembered = node.cloud._cache[stream]
        fresh, _ = load(node.recorder, stream, type(remembered) if isinstance(remembered, Companion) else None)
        assert facts(remembered) == facts(fresh) or stream in node.cloud._unwritten


def test_certificates_are_for_tokens_that_are_good_for_one(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        node = here.api.node
        asker = Enrolling(random.Random(3), await known(here), tmp_path)
        async with doors(node.door.enroll_endpoint, Papers(node.authority.pem)) as channels:
            for number in range(LEAST):
                if number % 60 == 0:
                    asker.tokens.append((await here.api.call("IssueEnrollToken")).token)
                head = node.cloud.log.head
                code, right = await asker.ask(channels[0])
                assert code not in OURS
                assert (code == "OK") is right, code
                written = [r.kind for r in node.recorder.read_all(head, 10)]
                assert written == [] or (right and written == ["enroll_token"])
        assert asker.told.codes.keys() >= {"OK", "INVALID_ARGUMENT", "PERMISSION_DENIED"}

    run(tmp_path, body)
