"""A cloud in bad weather: messages are lost, repeated and late, agents and the node die, and clients ask again."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from tests.faults.harness.books import violations
from tests.faults.harness.cloud import Run
from tests.faults.harness.grounds import ground, vm_fields
from tests.faults.harness.hosts import Host
from tests.faults.harness.loop import run as run_loop
from tests.faults.harness.network import Weather
from zcloud.kernel.errors import Refused
from zcloud.kernel.job import JobState

VERBS = ("Start", "Stop", "Reboot", "Pause", "Resume", "Delete", "Recover", "Expunge")
LEAST_TASKS = 3


@dataclass
class Log:
    """What happened in one run: with its seed it happens again."""

    seed: int
    calls: list[str] = field(default_factory=list)
    crashes: int = 0
    kills: int = 0
    tasks: int = 0
    stuck: int = 0
    wrong: list[str] = field(default_factory=list)


def storm(seed: int, late: float | None = None) -> Log:
    """One run. late: so many of the messages are held up for long, and nothing else is wrong with them."""
    log = Log(seed)
    chance = random.Random(seed)
    base = ground(chance.choice(("attached", "running", "running", "stopped")))
    run_loop(_live(seed, log, base, chance, late))
    return log


async def _live(seed: int, log: Log, base: Run, chance: random.Random, late: float | None) -> None:
    weather = Weather(random.Random(seed + 1))
    run = Run(base, seed=seed, weather=weather)
    await run.start()
    assert await run.quiet(), f"seed {seed}: the ground does not come to rest"
    run.began = len(run.lake.records)
    begun = len(run.lake.records)
    _gather_clouds(run, chance, weather, log, late)
    # Where messages are lost for long a step may well wait in vain.
    run.prompt = late == 0.0
    asked: list[asyncio.Task[Any]] = []
    for number in range(chance.randint(4, 8)):
        asked.append(asyncio.ensure_future(_ask(run, random.Random(f"{seed}/{number}"), number, log)))
        await asyncio.sleep(chance.random() * 6)
    await asyncio.wait(asked, timeout=120)
    weather.clear()
    run.gate = lambda _moment: False
    for host in run.hosts.values():
        host.failpoint = lambda _name: None
    await asyncio.wait(asked)
    log.wrong += [f"a call ended with {error!r}" for a in asked if (error := a.exception()) is not None]
    calm = await run.quiet(30_000) and await run.settle() and await run.settle()
    run.halt()
    log.kills = run.kills
    log.tasks = sum(r.topic == "job.StepDispatched" for r in run.lake.records[begun:])
    log.stuck = sum(job.state is JobState.STUCK for job in run.lake.fold.all("job"))  # type: ignore[attr-defined]
    log.wrong += violations(run, lossy=True)
    if not calm:
        log.wrong.append("it does not come to rest")
    if log.tasks < LEAST_TASKS:
        log.wrong.append(f"too little traffic: {log.tasks} tasks")


def _gather_clouds(run: Run, chance: random.Random, weather: Weather, log: Log, late: float | None) -> None:
    weather.loss, weather.duplicates, weather.delay = 0.2, 0.3, 2.0
    weather.late = chance.choice((0.0, 0.05))
    weather.loss = 0.2 if not weather.late else 0.01
    if late is not None:
        # A copy in time, or a broken stream, would spare everybody what comes late.
        weather.late, weather.loss, weather.duplicates = late, 0.0, 0.0
    run.latency = lambda: chance.random() * 0.02
    deadly = chance.choice((0.0, 0.01, 0.03))
    run.gate = lambda _moment: chance.random() < deadly
    run.pace.delay = 0.0
    for host in run.hosts.values():
        host.pace.delay = chance.choice((0.0, 0.5, 3.0))
        host.failpoint = _crashes(host, chance, log)


def _crashes(host: Host, chance: random.Random, log: Log) -> Any:
    def maybe(_name: str) -> None:
        if chance.random() < 0.03:
            log.crashes += 1
            host.crash(chance.random() * 3)
            raise asyncio.CancelledError

    return maybe


async def _ask(run: Run, chance: random.Random, number: int, log: Log) -> None:
    """One command, as a client that hears nothing sends it again, and sometimes sends it twice at once."""
    rpc, fields = _command(run, chance, number)
    log.calls.append(rpc)
    request = f"{run.seed}/{number}"
    times = 2 if chance.random() < 0.3 else 1
    answers = await asyncio.gather(*(_once(run, rpc, request, fields) for _ in range(times)))
    given = {a for a in answers if a is not None}
    if len(given) > 1:
        log.wrong.append(f"I1: {rpc} was answered in two ways")


async def _once(run: Run, rpc: str, request: str, fields: dict[str, Any]) -> bytes | None:
    try:
        answer = await run.call(rpc, request_id=request, **fields)
    except Refused:
        return None
    return bytes(answer.SerializeToString())


def _command(run: Run, chance: random.Random, number: int) -> tuple[str, dict[str, Any]]:
    vms = [m.uuid for m in run.lake.fold.all("vm_instance")]
    jobs = run.active()
    kind = chance.random()
    if number == 0 or not vms or kind < 0.3:
        return "CreateVmInstance", vm_fields(run, f"vm-{number}")
    if kind < 0.38 and jobs:
        return "CancelJob", {"uuid": chance.choice(jobs)}
    if kind < 0.46:
        return "ReconnectHost", {"uuid": run.names[chance.choice(("host1", "host2"))]}
    return f"{chance.choice(VERBS)}VmInstance", {"uuid": chance.choice(vms)}
