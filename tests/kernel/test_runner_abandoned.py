"""A runner that dies at any moment: another on the same log ends every job well, and nothing is left over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.toy_work import Agent, working
from zcloud.kernel import failpoint
from zcloud.kernel.ids import SeededIds
from zcloud.kernel.job import Job, JobState

SCENES: dict[str, tuple[str, set[str], JobState]] = {
    "good": ("toy_build", set(), JobState.SUCCEEDED),
    "undone": ("toy_build", {"do c"}, JobState.FAILED),
    "nested": ("toy_nested", set(), JobState.SUCCEEDED),
    "nested undone": ("toy_nested", {"do c"}, JobState.FAILED),
}
PLACES = ("commit.before", "commit.after", "send.before", "send.after", "report.before", "report.after")


class Dies:
    """From the n-th pass of a place on, nothing that the node does gets through."""

    def __init__(self, place: str, passes: int) -> None:
        self.left = passes
        self.dead = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for name in PLACES:
            failpoint.arm(name, lambda name=name: self._pass(name == place))

    def _pass(self, counts: bool) -> None:
        if counts:
            self.left -= 1
        if self.left <= 0:
            self._loop.call_soon_threadsafe(self.dead.set)
            raise OSError("the node is dead")


async def lived(directory: Path, place: str, passes: int, scene: str) -> bool:
    """One life that ends at a place, then another; False when the first was over before it got there."""
    workflow, fails, expected = SCENES[scene]
    agent = Agent()
    agent.fails = set(fails)
    async with working(directory, agent, ids=SeededIds(1)) as first:
        uuid, inner = await first.kernel.create("outer"), await first.kernel.create("inner")
        job = await first.submit(workflow, uuid, {"inner": inner} if workflow == "toy_nested" else {})
        dies = Dies(place, passes)
        ending = asyncio.create_task(first.runner.ended(job, 30))
        dying = asyncio.create_task(dies.dead.wait())
        await asyncio.wait({ending, dying}, return_when=asyncio.FIRST_COMPLETED)
        died = dies.dead.is_set()
        for task in (ending, dying):
            task.cancel()
        await first.runner.close()
    failpoint.disarm()
    async with working(directory, agent, ids=SeededIds(2)) as second:
        ended: Job = await second.end(job)
        assert ended.state is expected, (place, passes, ended)
        held = await second.kernel.items(uuid)
        if expected is JobState.SUCCEEDED:
            built = ["a", "b", "c"] if workflow == "toy_build" else ["a", "a", "b", "c", "c"]
            assert sorted(agent.world) == built, (place, passes)
            assert held == (("a", "b", "c") if workflow == "toy_build" else ("a", "c"))
        else:
            assert agent.world == [], (place, passes)
            assert held == (("failed",) if workflow == "toy_build" else ())
        assert len(agent.acted) == len(agent.journal), "a task acted twice"
        assert not [s for s in agent.sent if s.task_uuid not in agent.journal]
        # The resource is free again.
        assert (await second.end(await second.submit("toy_drain", inner))).state is JobState.SUCCEEDED
    return died


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("place", PLACES)
def test_abandoned_at_every_moment(tmp_path: Path, place: str, scene: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("zcloud.kernel.runner.RETRY_SECONDS", 3600)
    passes = 0
    while True:
        passes += 1
        directory = tmp_path / str(passes)
        directory.mkdir()
        if not asyncio.run(lived(directory, place, passes, scene)):
            break
    assert passes > 3, "the place is passed once for each step at least"
