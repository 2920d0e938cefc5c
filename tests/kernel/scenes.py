"""What the scenes of the runner share: a driver, and short words for what they look at."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.kernel.toy_work import Agent, working
from zcloud.kernel.job import Job, StepState

S = StepState


def states(job: Job) -> list[StepState]:
    return [step.state for step in job.steps]


async def until(held: list[str]) -> None:
    """Something is in the list."""
    async with asyncio.timeout(60):
        while not held:  # noqa: ASYNC110 - the agent of these tests tells nobody
            await asyncio.sleep(0.001)


def driven(tmp_path: Path, body: Any, agent: Agent | None = None) -> Any:
    """Run the body on a thing in a kernel whose jobs are driven."""

    async def go() -> Any:
        async with working(tmp_path, agent) as works:
            return await body(works, await works.kernel.create())

    return asyncio.run(go())
