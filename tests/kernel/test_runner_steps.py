"""Steps that are not plain: tolerant, repeated, sub-jobs; and what else a runner meets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.scenes import S, driven, states
from tests.kernel.toy_work import Works
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.job import JobState


def test_a_tolerant_step_is_passed_over_only_in_mode_enforcing(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.fails = {"do b"}
        job = await works.end(await works.submit("toy_lenient", uuid, {"mode": "Enforcing"}))
        assert (job.state, states(job)) == (JobState.SUCCEEDED, [S.DONE, S.SKIPPED, S.DONE])
        assert "do b failed" in job.steps[1].error
        other = await works.kernel.create("other")
        job = await works.end(await works.submit("toy_lenient", other, {"mode": "Permissive"}))
        assert job.state is JobState.FAILED

    driven(tmp_path, body)


def test_of_many_sub_jobs_one_that_fails_is_passed_over_and_the_others_run(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        inner = [await works.kernel.create(name) for name in ("one", "two", "three")]
        # What fails says so on the thing; it is not emptied, so only passed_over keeps it from being tried for ever.
        args = {"inner": inner, "refused": inner[0], "mode": "Enforcing"}
        job = await works.end(await works.submit("toy_row", uuid, args))
        assert (job.state, job.passed_over) == (JobState.SUCCEEDED, (inner[0],))
        assert inner[0] in job.steps[0].error
        for done in inner[1:]:
            assert await works.kernel.items(done) == ("a", "b", "c")

    driven(tmp_path, body)


def test_a_repeated_step_goes_on_until_nothing_is_left(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        for item in "xyz":
            await works.kernel.fill(uuid, item)
        job = await works.end(await works.submit("toy_drain", uuid))
        assert (job.state, states(job)) == (JobState.SUCCEEDED, [S.DONE])
        assert works.agent.acted == ["take x", "take y", "take z"]

    driven(tmp_path, body)


def test_a_job_within_a_job(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        inner = await works.kernel.create("inner")
        job = await works.end(await works.submit("toy_nested", uuid, {"inner": inner}))
        assert job.state is JobState.SUCCEEDED
        assert await works.kernel.items(inner) == ("a", "b", "c")
        assert works.agent.acted == ["do a", "do a", "do b", "do c", "do c"]

    driven(tmp_path, body)


def test_a_job_within_a_job_that_fails_is_a_step_that_failed(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        inner = await works.kernel.create("inner")
        job = await works.end(await works.submit("toy_nested", uuid, {"inner": inner, "refuse": "b"}))
        assert (job.state, job.error) == (JobState.FAILED, "b can't be done now")
        assert (works.agent.world, await works.kernel.items(uuid)) == ([], ())

    driven(tmp_path, body)


def test_a_job_without_steps_that_is_refused_fails_with_the_reason(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await works.end(await works.submit("toy_stepless", uuid))
        assert (job.state, job.error) == (JobState.FAILED, "what it was about is gone")

    driven(tmp_path, body)


def test_a_store_that_is_away_delays_a_job_and_fails_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zcloud.kernel.runner.RETRY_SECONDS", 0.01)

    async def body(works: Works, uuid: str) -> None:
        original, passes = works.kernel.recorder.append_batch, 0

        def flaky(appends: Any) -> Any:
            nonlocal passes
            passes += 1
            if passes % 2:
                raise OSError("no space left")
            return original(appends)

        job = await works.submit("toy_build", uuid)
        works.kernel.recorder.append_batch = flaky  # type: ignore[method-assign]
        works.agent.on_send = lambda sending: None
        keep = works.agent._report

        async def insist(runner: Any, task_uuid: str) -> None:
            for _ in range(5):
                await keep(runner, task_uuid)
                await asyncio.sleep(0.005)

        works.agent._report = insist  # type: ignore[method-assign]
        assert (await works.end(job)).state is JobState.SUCCEEDED
        assert works.agent.world == ["a", "b", "c"]

    driven(tmp_path, body)


def test_waiting_for_a_job_that_does_not_end_leaves_nothing_behind(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.held = {"do a"}
        job = await works.submit("toy_build", uuid)
        for _ in range(5):
            assert not await works.runner.ended(job, 0.001)
        assert works.runner._ended.get(job, []) == []
        works.agent.release("do a")
        await works.end(job)
        assert works.runner._ended == {}

    driven(tmp_path, body)


def test_jobs_are_the_same_when_replayed(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.fails = {"do c"}
        job = await works.submit("toy_build", uuid)
        await works.end(job)
        live, again = await works.job(job), await Cloud(works.kernel.log).load(job)
        assert again is not None

        def facts(aggregate: Any) -> dict[str, Any]:
            return {k: v for k, v in vars(aggregate).items() if k not in ("now", "pending")}

        assert facts(live) == facts(again)

    driven(tmp_path, body)
