"""Jobs over a socket: asked for, waited for, watched, cancelled, got going again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import TaskError
from agents.simulator.host import SimulatedHost
from tests.support.cloud import (
    Api,
    ApiError,
    add_simulator,
    host_connected,
    running_node,
    simulated_hosts,
    simulator_cluster,
)
from zcloud.kernel.context import Context
from zcloud.kernel.job import Job, JobState
from zcloud.kernel.unit import Unit

INVALID = "INVALID_ARGUMENT"


def in_cloud(directory: Path, body: Callable[[Api, SimulatedHost], Awaitable[None]]) -> None:
    """With one host that is connected."""

    async def go() -> None:
        async with running_node(directory) as api:
            _, cluster = await simulator_cluster(api)
            host = await add_simulator(api, cluster)
            async with simulated_hosts(api, host):
                await host_connected(api, host.host_uuid)
                await body(api, host)

    asyncio.run(go())


async def slow(host: SimulatedHost) -> Callable[[], None]:
    """From now on the host's tasks wait; the result lets them go on."""
    gate = asyncio.Event()
    before = host.pace.before

    async def wait(name: str, work: Any) -> None:
        waiting = {asyncio.create_task(gate.wait()), asyncio.create_task(work.aborted.wait())}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if work.aborted.is_set():
            raise TaskError("ABORTED", "given up on request")
        await before(name, work)

    host.pace.before = wait  # type: ignore[method-assign]
    return gate.set


def test_waited_for_and_watched(tmp_path: Path) -> None:
    async def body(api: Api, host: SimulatedHost) -> None:
        go_on = await slow(host)
        job = (await api.call("ReconnectHost", {"zcloud-reason": "because"}, uuid=host.host_uuid)).job_uuid
        early = await api.call("WaitJob", uuid=job, timeout_seconds=1)
        assert not early.ended
        assert early.inventory.state == early.inventory.STATE_RUNNING
        watching = asyncio.create_task(collect(api, job))
        second = (await api.call("ReconnectHost", uuid=host.host_uuid)).job_uuid
        waiting = (await api.call("GetJob", uuid=second)).inventory
        assert (waiting.state, waiting.resource_uuid) == (waiting.STATE_WAITING, host.host_uuid)
        found = (await api.call("QueryJob", filter="state = Waiting OR state = Running")).inventories
        assert {j.uuid for j in found} == {job, second}
        go_on()
        states = await watching
        assert states[-1] == early.inventory.STATE_SUCCEEDED
        ended = await api.wait(second)
        assert (ended.state, ended.percent, ended.rpc) == (ended.STATE_SUCCEEDED, 100, "ReconnectHost")
        assert all(step.finish_date.ToMicroseconds() >= step.start_date.ToMicroseconds() for step in ended.steps)
        why = {e.reason for e in (await api.call("GetHistory", resource_uuid=job)).events}
        assert why == {"because"}

    in_cloud(tmp_path, body)


def test_watched_by_nobody_else(tmp_path: Path) -> None:
    async def body(api: Api, host: SimulatedHost) -> None:
        await slow(host)
        job = (await api.call("ReconnectHost", uuid=host.host_uuid)).job_uuid
        _, stranger = await api.account("stranger")
        for asker, uuid, code in ((stranger, job, "NOT_FOUND"), (api, "f" * 32, "NOT_FOUND"), (api, "", INVALID)):
            with pytest.raises(ApiError) as refused:
                await collect(asker, uuid)
            assert refused.value.code == code, uuid

    in_cloud(tmp_path, body)


async def collect(api: Api, job: str) -> list[int]:
    return [answer.inventory.state async for answer in api.stream("WatchJob", uuid=job)]


def test_cancelled(tmp_path: Path) -> None:
    async def body(api: Api, host: SimulatedHost) -> None:
        await slow(host)
        job = (await api.call("ReconnectHost", uuid=host.host_uuid)).job_uuid
        waiting = (await api.call("ReconnectHost", uuid=host.host_uuid)).job_uuid
        dropped = (await api.call("CancelJob", uuid=waiting)).inventory
        assert dropped.state == dropped.STATE_CANCELED
        asked = (await api.call("CancelJob", uuid=job)).inventory
        assert asked.cancel_requested
        ended = await api.wait(job)
        assert ended.state == ended.STATE_CANCELED
        with pytest.raises(ApiError) as refused:
            await api.call("CancelJob", uuid=job)
        assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "JOB_ENDED")

    in_cloud(tmp_path, body)


@pytest.mark.parametrize("rpc", ["RetryJob", "SkipJobStep"])
def test_what_is_stuck_is_got_going(tmp_path: Path, rpc: str) -> None:
    async def body(api: Api, host: SimulatedHost) -> None:
        await slow(host)
        job = (await api.call("ReconnectHost", uuid=host.host_uuid)).job_uuid
        with pytest.raises(ApiError) as refused:
            await api.call(rpc, uuid=job)
        assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "WRONG_STATE")

        async def stick(unit: Unit) -> None:
            found = await unit.get(Job, job)
            found.trigger(Job.GotStuck(index=found.index, reason="X", error="as if a mistake had happened"))

        await api.node.runner.close()
        await api.node.cloud.decide(Context(), stick)
        assert (await api.call("GetJob", uuid=job)).inventory.state == 7
        await api.call(rpc, uuid=job)
        found = await api.node.cloud.load(job)
        assert isinstance(found, Job)
        assert found.state is JobState.RUNNING

    in_cloud(tmp_path, body)
