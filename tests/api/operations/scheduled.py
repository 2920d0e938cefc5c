"""What tests of schedulers share: a clock that can be turned, and runs that are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.cloud import Api, running_node, until
from zcloud.kernel.clock import SECOND, SystemClock

RARELY = {"cron": "0 0 1 1 *"}
ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "MISSED", "CANCELED")


class TurnedClock(SystemClock):
    """The machine's clock, put forward or back by seconds."""

    def __init__(self) -> None:
        self.turned = 0.0

    def now(self) -> int:
        return super().now() + int(self.turned * SECOND)


def turn(api: Api) -> TurnedClock:
    """From now on the node's time is what the test says."""
    clock = TurnedClock()
    api.node.cloud.clock = clock
    return clock


def on_node(directory: Path, body: Callable[[Api], Awaitable[Any]]) -> None:
    """Run a test on a node of its own."""

    async def main() -> None:
        async with running_node(directory) as api:
            await body(api)

    asyncio.run(main())


def stamp(micros: int) -> Timestamp:
    made = Timestamp()
    made.FromMicroseconds(micros)
    return made


def in_seconds(api: Api, seconds: float) -> Timestamp:
    """So long from now."""
    return stamp(api.node.cloud.clock.now() + int(seconds * SECOND))


def state_of(message: Any) -> str:
    """In short."""
    return str(type(message).State.Name(message.state)).removeprefix("STATE_")


async def zone(api: Api, name: str = "z") -> str:
    """Something to act on."""
    return str((await api.call("CreateZone", name=name)).inventory.uuid)


async def job(api: Api, *targets: str, **fields: Any) -> Any:
    """A job that changes zones, or what is said."""
    made = {
        "name": "job",
        "action": "UpdateZone",
        "arguments": '{"description": "done"}',
        "resource_uuids": list(targets),
        "max_retries": 0,
        **fields,
    }
    return (await api.call("CreateSchedulerJob", **made)).inventory


async def scheduler(api: Api, **fields: Any) -> Any:
    return (await api.call("CreateScheduler", **{"name": "s", **fields})).inventory


async def runs(api: Api, filter: str = "") -> list[Any]:
    """Occurrences, by planned moment."""
    found = await api.call("QuerySchedulerOccurrence", filter=filter, order_by="planned_date, create_date")
    return list(found.inventories)


async def ended(api: Api, number: int, filter: str = "") -> list[Any]:
    """So many runs, once all of them have ended."""

    async def look() -> list[Any]:
        found = await runs(api, filter)
        return found if len(found) >= number and all(state_of(run) in ENDED for run in found) else []

    return list(await until(look))


async def get(api: Api, uuid: str) -> Any:
    return (await api.call("GetSchedulerJob", uuid=uuid)).inventory


async def run_now(api: Api, scheduler_uuid: str, **fields: Any) -> str:
    return str((await api.call("RunSchedulerNow", uuid=scheduler_uuid, **fields)).occurrence_uuids[0])


async def occurrence(api: Api, uuid: str) -> Any:
    return (await api.call("GetSchedulerOccurrence", uuid=uuid)).inventory


async def becomes(api: Api, uuid: str, *states: str) -> Any:
    async def look() -> Any:
        found = await occurrence(api, uuid)
        return found if state_of(found) in states else None

    return await until(look)


def targets(run: Any) -> list[tuple[str, str]]:
    return [(state_of(t), t.reason) for t in run.targets]


def in_turn(api: Api, *outcomes: Exception | None) -> list[Any]:
    """Calls of jobs are refused so before they are made; gives the orders as they come."""
    actions = api.node.cloud.ports["actions"]
    real: Callable[[Any], Awaitable[None]] = actions.act
    orders: list[Any] = []
    left = list(outcomes)

    async def act(order: Any) -> None:
        orders.append(order)
        outcome = left.pop(0) if left else None
        if outcome is not None:
            raise outcome
        await real(order)

    actions.act = act
    return orders
