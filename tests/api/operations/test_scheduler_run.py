"""Runs of scheduled jobs at the door: calls that fail and are made again, overlaps, cancels (SCH-04..12)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import refused
from tests.api.operations.scheduled import (
    RARELY,
    becomes,
    ended,
    get,
    in_turn,
    job,
    occurrence,
    on_node,
    run_now,
    scheduler,
    state_of,
    targets,
    turn,
    zone,
)
from tests.support.cloud import Api, until
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Reason, invalid, precondition


def test_a_failed_call_is_made_again_with_growing_pauses_and_then_no_more(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        clock = turn(api)
        made = await scheduler(api, **RARELY)
        work = await job(api, await zone(api), scheduler_uuids=[made.uuid], max_retries=2, retry_interval=100)
        busy = precondition(Reason.BUSY, "busy")
        orders = in_turn(api, busy, busy, None, busy, busy, busy)
        uuid = await run_now(api, made.uuid)

        async def tried(uuid: str, attempts: int) -> Any:
            async def look() -> Any:
                target = (await occurrence(api, uuid)).targets[0]
                return target if target.attempts == attempts else None

            return await until(look)

        first = await tried(uuid, 1)
        assert (state_of(first), first.reason) == ("PENDING", "BUSY")
        clock.turned += 101
        second = await tried(uuid, 2)
        assert second.retry_date.ToMicroseconds() - first.retry_date.ToMicroseconds() >= 200 * SECOND
        clock.turned += 201
        run = await becomes(api, uuid, "SUCCEEDED", "FAILED")
        assert [t.attempts for t in run.targets] == [3]
        assert state_of(run) == "SUCCEEDED"
        assert len({order.request_id for order in orders}) == 3
        uuid = await run_now(api, made.uuid)
        for attempts in (1, 2):
            await tried(uuid, attempts)
            clock.turned += 401
        run = await becomes(api, uuid, "SUCCEEDED", "FAILED")
        assert (state_of(run), run.reason, run.targets[0].attempts) == ("FAILED", "BUSY", 3)
        assert (await get(api, work.uuid)).last_run_state == "Failed"

    on_node(tmp_path, body)


def test_what_can_never_be_right_is_not_tried_again(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        made = await scheduler(api, **RARELY)
        here, there = await zone(api, "here"), await zone(api, "there")
        await job(api, here, there, scheduler_uuids=[made.uuid], max_retries=5)
        in_turn(api, invalid("name", "x", "must be right"), None)
        run = await becomes(api, await run_now(api, made.uuid), "FAILED", "SUCCEEDED")
        assert sorted(state_of(t) for t in run.targets) == ["FAILED", "SUCCEEDED"]
        assert "1 of 2 targets failed" in run.error

    on_node(tmp_path, body)


class Gate:
    """Calls of jobs wait until it is opened."""

    def __init__(self, api: Api) -> None:
        self.open = asyncio.Event()
        actions = api.node.cloud.ports["actions"]
        real = actions.act

        async def act(order: Any) -> None:
            await self.open.wait()
            await real(order)

        actions.act = act


@pytest.mark.parametrize(
    ("policy", "states"),
    [
        ("skip", ["SUCCEEDED", "SKIPPED", "SKIPPED"]),
        ("buffer_one", ["SUCCEEDED", "SUCCEEDED", "SKIPPED"]),
        ("buffer_all", ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]),
        ("cancel_other", ["CANCELED", "CANCELED", "SUCCEEDED"]),
        ("allow_all", ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]),
    ],
)
def test_runs_that_would_overlap(tmp_path: Path, policy: str, states: list[str]) -> None:
    async def body(api: Api) -> None:
        made = await scheduler(api, overlap_policy=policy, **RARELY)
        work = await job(api, await zone(api), scheduler_uuids=[made.uuid])
        gate = Gate(api)
        uuids = [await run_now(api, made.uuid) for _ in range(3)]
        shown = await get(api, work.uuid)
        if policy == "allow_all":
            assert len(shown.running_occurrence_uuids) == 3
        gate.open.set()
        await ended(api, 3)
        found = [await occurrence(api, uuid) for uuid in uuids]
        assert [state_of(run) for run in found] == states
        assert {run.reason for run in found if state_of(run) == "SKIPPED"} <= {"OVERLAP"}
        shown = await get(api, work.uuid)
        assert not shown.running_occurrence_uuids
        assert not shown.waiting_occurrence_uuids

    on_node(tmp_path, body)


def test_a_run_is_cancelled_before_it_has_called(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        made = await scheduler(api, **RARELY)
        here = await zone(api)
        await job(api, here, scheduler_uuids=[made.uuid])
        gate = Gate(api)
        uuid = await run_now(api, made.uuid)
        await api.call("CancelSchedulerOccurrence", uuid=uuid)
        gate.open.set()
        run = await becomes(api, uuid, "CANCELED", "SUCCEEDED")
        assert targets(run) == [("CANCELED", "CANCELED")]
        assert (await api.call("GetZone", uuid=here)).inventory.description == ""
        error = await refused(api.call("CancelSchedulerOccurrence", uuid=uuid))
        assert error.reason == "JOB_ENDED"

    on_node(tmp_path, body)
