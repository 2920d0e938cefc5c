"""Schedulers at scale: so many exist, of which many are due in one second; each fires once, and people do not wait.

python -m bench.schedulers [existing] [due]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.cloud import Api, running_node
from zcloud.domain.operations.scheduler import Scheduler, SchedulerClock
from zcloud.domain.operations.scheduler_job import JobTarget, JobType, SchedulerJob
from zcloud.kernel.clock import SECOND
from zcloud.kernel.context import SYSTEM, Actor, Context
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.due import Due
from zcloud.processes.operations.scheduling.targets import attach

AT_ONCE = 200


async def furnish(api: Api, existing: int, due: int, zones: list[str], account: str, when: int) -> None:
    """Schedulers of which the first ones run a job at one moment, and the others in ten years."""
    cloud = api.node.cloud

    async def batch(first: int, last: int) -> None:
        async def body(unit: Unit) -> None:
            for n in range(first, last):
                scheduler = await unit.new(Scheduler, account_uuid=account)
                start = when if n < due else when + 10 * 365 * 86_400 * SECOND
                scheduler.create(cloud.clock.now(), name=f"s{n}", start_time=start)
                (await unit.companion(SchedulerClock, scheduler)).plan(scheduler, cloud.clock.now())
                if n < due:
                    await attach(unit, scheduler, await _job(unit, account, n, zones[n % len(zones)]))

        await cloud.decide(Context(actor=SYSTEM), body)

    for first in range(0, existing, AT_ONCE):
        await batch(first, min(existing, first + AT_ONCE))


async def _job(unit: Unit, account: str, n: int, zone: str) -> SchedulerJob:
    job = await unit.new(SchedulerJob, account_uuid=account)
    job.create(
        name=f"j{n}",
        type=JobType.ACTION,
        action="UpdateZone",
        arguments=f'{{"description": "{n}"}}',
        target_field="uuid",
        target_kind="zone",
        targets=(JobTarget(zone),),
        made_by=Actor(account_uuid=account),
    )
    return job


def looking(existing: int) -> float:
    """Seconds of one look for what is due, with so many that are not."""
    due = Due()
    for n in range(existing):
        due.put(f"{n:032x}", SECOND + n)
    begin = time.perf_counter()
    for _ in range(1000):
        due.take(0, 100)
        due.next()
    return (time.perf_counter() - begin) / 1000


async def measure(existing: int, due: int) -> None:
    """One run, in words."""
    with tempfile.TemporaryDirectory() as directory:
        async with running_node(Path(directory)) as api:
            first = (await api.call("CreateZone", name="z0")).inventory
            others = [(await api.call("CreateZone", name=f"z{n}")).inventory.uuid for n in range(1, 200)]
            begin = time.perf_counter()
            # Far ahead while they are made; then the clock is turned so that they are due in a moment.
            cloud, when = api.node.cloud, api.node.cloud.clock.now() + 100_000 * SECOND
            await furnish(api, existing, due, [first.uuid, *others], first.account_uuid, when)
            print(f"{existing} schedulers made in {time.perf_counter() - begin:.1f} s")
            real, shift = cloud.clock.now, when - cloud.clock.now() + SECOND
            cloud.clock.now = lambda: real() + shift  # type: ignore[method-assign]
            await _watched(api, due)


async def _watched(api: Api, due: int) -> None:
    token = (api.node.directory / "admin-password").read_text().strip()
    api = await Api(api.node, api.channel).logged_in("admin", token)
    begin, waits = time.perf_counter(), []
    while True:
        asked = time.perf_counter()
        await api.call("QueryZone", page_size=1)
        waits.append(time.perf_counter() - asked)
        total = await _ended(api)
        if total >= due or time.perf_counter() - begin > 600:
            break
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - begin
    waits.sort()
    print(f"{total} of {due} runs ended within {seconds:.1f} s: {total / seconds:.0f} a second")
    median, high = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    print(f"meanwhile {len(waits)} queries took {median * 1000:.0f} ms, p99 {high * 1000:.0f} ms")
    every: Any = await api.call("QuerySchedulerOccurrence", page_size=1, count=True)
    print(f"runs in all: {every.total} (each scheduler once)")


async def _ended(api: Api) -> int:
    found = await api.call("QuerySchedulerOccurrence", page_size=1, count=True, filter="state = Succeeded")
    return int(found.total)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] or [100_000, 10_000]
    few, many = looking(1000), looking(numbers[0])
    print(f"a look for what is due: {few * 1e6:.1f} µs with 1000, {many * 1e6:.1f} µs with {numbers[0]}")
    asyncio.run(measure(numbers[0], numbers[-1]))
