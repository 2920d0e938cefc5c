"""Jobs: steps in order, undo in reverse, and what operators may do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.scenes import S, driven, states, until
from tests.kernel.toy_work import Agent, Works
from zcloud.kernel import outcome, runner
from zcloud.kernel.clock import SECOND, SystemClock
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.job import JobState, StepState
from zcloud.kernel.log import unavailable
from zcloud.kernel.runner import Report


def test_steps_in_order(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await works.end(await works.submit("toy_build", uuid))
        assert (job.state, job.error, job.percent) == (JobState.SUCCEEDED, "", 100)
        assert states(job) == [S.DONE] * 3
        assert works.agent.acted == ["do a", "do b", "do c"]
        assert await works.kernel.items(uuid) == ("a", "b", "c")
        assert job.results["b"] == {"value": "do b"}
        fences = [s.fence for s in works.agent.sent]
        assert fences == sorted(set(fences))

    driven(tmp_path, body)


def test_the_intent_is_in_the_log_before_anything_is_sent(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        def look(sending: Any) -> None:
            durable = [r for r in works.kernel.recorder.read_all(0, 1000) if r.topic == "job.StepDispatched"]
            assert sending.task_uuid in [bytes(r.state).decode().split('"task_uuid":"')[1][:32] for r in durable]
            seen.append(sending.args.value)

        seen: list[str] = []
        works.agent.on_send = look
        await works.end(await works.submit("toy_build", uuid))
        assert seen == ["do a", "do b", "do c"]

    driven(tmp_path, body)


def test_all_that_a_job_does_says_who_asked_and_why(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await works.submit("toy_build", uuid)
        await works.end(job)
        records = [r for r in works.kernel.recorder.read_all(0, 1000) if r.topic == "toy_thing.Filled"]
        assert len(records) == 3
        assert {(r.actor.account_name, r.reason, r.job_uuid, r.origin) for r in records} == {
            ("owner", "because", job, "toy_build")
        }

    driven(tmp_path, body)


@pytest.mark.parametrize(
    ("failing", "acted", "expected"),
    [
        ("a", ["do a", "undo a"], [S.UNDONE, S.PENDING, S.PENDING]),
        ("b", ["do a", "do b", "undo b", "undo a"], [S.UNDONE, S.UNDONE, S.PENDING]),
        ("c", ["do a", "do b", "do c", "undo c", "undo b", "undo a"], [S.UNDONE] * 3),
    ],
)
def test_a_failed_step_is_undone_first_then_the_others_in_reverse(
    tmp_path: Path, failing: str, acted: list[str], expected: list[StepState]
) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.fails = {f"do {failing}"}
        job = await works.end(await works.submit("toy_build", uuid))
        assert (job.state, job.error) == (JobState.FAILED, f"do {failing} failed")
        assert works.agent.acted == acted
        assert works.agent.world == []
        assert await works.kernel.items(uuid) == ("failed",)
        assert states(job) == expected

    driven(tmp_path, body)


@pytest.mark.parametrize("how", ["refuse", "refuse_report"])
def test_a_step_that_is_refused_counts_as_failed(tmp_path: Path, how: str) -> None:
    """Before it is sent, or when its result can't be taken: then it was done, and is undone."""

    async def body(works: Works, uuid: str) -> None:
        job = await works.end(await works.submit("toy_build", uuid, {how: "b"}))
        assert job.state is JobState.FAILED
        assert "b" in job.error
        assert works.agent.world == []
        assert works.agent.acted[-2:] == ["undo b", "undo a"]

    driven(tmp_path, body)


def test_a_step_with_nothing_to_do_is_skipped(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await works.end(await works.submit("toy_build", uuid, {"nothing_to_do": "b"}))
        assert (job.state, states(job)) == (JobState.SUCCEEDED, [S.DONE, S.SKIPPED, S.DONE])
        assert works.agent.acted == ["do a", "do c"]

    driven(tmp_path, body)


async def stuck(works: Works, uuid: str) -> str:
    works.agent.fails = {"do c", "undo b"}
    job = await works.submit("toy_build", uuid)
    found = await works.reaches(job, lambda j: j.state is JobState.STUCK)
    assert (found.error, found.first_error) == ("undo b failed", "do c failed")
    assert states(found) == [S.DONE, S.FAILED, S.UNDONE]
    return job


def test_an_undo_that_fails_rests_visibly_until_it_is_retried(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await stuck(works, uuid)
        await works.tell(job, "retry")
        await works.reaches(job, lambda j: j.state is JobState.STUCK and j.version > 0)
        works.agent.fails.clear()
        await works.reaches(job, lambda j: j.state is JobState.STUCK)
        await works.tell(job, "retry")
        ended = await works.end(job)
        assert (ended.state, ended.error) == (JobState.FAILED, "do c failed")
        assert (works.agent.world, states(ended)) == ([], [S.UNDONE] * 3)

    driven(tmp_path, body)


def test_a_retry_at_the_very_moment_of_getting_stuck_is_not_lost(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        retries = []

        def hear(records: list[Any]) -> None:
            if any(r.topic == "job.GotStuck" for r in records):
                works.agent.fails.clear()
                retries.append(asyncio.ensure_future(works.tell(job, "retry")))

        works.kernel.log.listen(hear)
        works.agent.fails = {"do c", "undo b"}
        job = await works.submit("toy_build", uuid)
        assert (await works.end(job)).state is JobState.FAILED
        assert len(retries) == 1

    driven(tmp_path, body)


def test_an_operator_may_go_on_without_an_undo_and_what_is_left_is_named(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await stuck(works, uuid)
        await works.tell(job, "skip")
        ended = await works.end(job)
        assert ended.state is JobState.FAILED
        assert states(ended) == [S.UNDONE, S.SKIPPED, S.UNDONE]
        assert "undo b failed" in ended.steps[1].error
        assert works.agent.world == ["b"]

    driven(tmp_path, body)


@pytest.mark.parametrize("verb", ["retry", "skip"])
def test_only_a_stuck_job_is_retried_or_skipped(tmp_path: Path, verb: str) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await works.submit("toy_build", uuid)
        await works.end(job)
        with pytest.raises(Refused) as refused:
            await works.tell(job, verb)
        assert (refused.value.code, refused.value.reason) == (Code.FAILED_PRECONDITION, Reason.WRONG_STATE)

    driven(tmp_path, body)


def test_a_programmers_mistake_leaves_the_job_visible_and_an_operator_gets_it_going(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        job = await works.submit("toy_buggy", uuid)
        await works.reaches(job, lambda j: j.state is JobState.STUCK)
        await works.tell(job, "skip")
        ended = await works.end(job)
        assert ended.state is JobState.SUCCEEDED
        assert len(ended.steps) == 1

    driven(tmp_path, body)


def test_a_mistake_that_cannot_be_written_down_yet_is_written_down_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is away just then: a job that nobody drives any more would else be Running for ever."""
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.0)
    away = [unavailable("the store is away"), OSError("or worse")]
    give_up = outcome.giving_up

    def refused(job_uuid: str) -> Any:
        if away:
            raise away.pop()
        return give_up(job_uuid)

    monkeypatch.setattr(outcome, "giving_up", refused)

    async def body(works: Works, uuid: str) -> None:
        job = await works.submit("toy_buggy", uuid)
        await works.reaches(job, lambda j: j.state is JobState.STUCK)
        assert not away

    driven(tmp_path, body)


def test_cancel_takes_effect_between_steps(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.held = {"do b"}
        job = await works.submit("toy_build", uuid)
        await works.reaches(job, lambda j: j.index == 1 and bool(j.task_uuid))
        await works.tell(job, "cancel")
        head = works.kernel.log.head
        await works.tell(job, "cancel")
        assert works.kernel.log.head == head
        # The running step is asked to give up, and may be through all the same.
        await until(works.agent.aborted)
        # So it is when it dials in again: it may never have heard of either.
        works.agent.aborted.clear()
        works.runner.agent_connected("host")
        assert works.agent.aborted == [works.agent.sent[-1].task_uuid]
        works.agent.release("do b")
        ended = await works.end(job)
        assert (ended.state, ended.error) == (JobState.CANCELED, "cancelled on request")
        assert works.agent.acted == ["do a", "do b", "undo b", "undo a"]
        assert works.agent.world == []
        with pytest.raises(Refused) as refused:
            await works.tell(job, "cancel")
        assert refused.value.reason is Reason.JOB_ENDED

    driven(tmp_path, body)


def test_a_cancelled_step_that_failed_is_undone_as_well(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.held, works.agent.fails = {"do b"}, {"do b"}
        job = await works.submit("toy_build", uuid)
        await works.reaches(job, lambda j: j.index == 1 and bool(j.task_uuid))
        await works.tell(job, "cancel")
        works.agent.release("do b")
        ended = await works.end(job)
        assert ended.state is JobState.CANCELED
        assert works.agent.acted == ["do a", "do b", "undo b", "undo a"]

    driven(tmp_path, body)


@pytest.mark.parametrize("connected", [True, False])
def test_a_deadline_means_unknown_and_what_may_have_happened_is_undone(tmp_path: Path, connected: bool) -> None:
    """HST-04: that nobody was there to answer is said."""

    async def body(works: Works, uuid: str) -> None:
        works.agent.silent, works.agent.connected = {"do b"}, connected
        job = await works.end(await works.submit("toy_hasty", uuid))
        assert job.state is JobState.FAILED
        assert "unknown" in job.error
        assert job.error.endswith("; the agent of host host is not connected") is not connected
        assert works.agent.acted == ["do a", "do b", "undo b", "undo a"]
        assert works.agent.world == []
        assert len(works.agent.aborted) == 1

    agent = Agent()
    agent.on_send = lambda sending: None
    driven(tmp_path, body, agent)


def test_a_deadline_passes_though_the_clock_was_set_back(tmp_path: Path) -> None:
    """ARC-12: what was decided bears a time that will not be for an hour, and so do deadlines."""

    class SetBack(SystemClock):
        def now(self) -> int:
            return super().now() - 3600 * SECOND

    async def body(works: Works, uuid: str) -> None:
        works.kernel.cloud.clock = SetBack()
        works.agent.silent = {"do b"}
        job = await works.end(await works.submit("toy_hasty", uuid))
        assert (job.state, works.agent.acted) == (JobState.FAILED, ["do a", "do b", "undo b", "undo a"])

    agent = Agent()
    agent.on_send = lambda sending: None
    driven(tmp_path, body, agent)


def test_a_report_twice_and_a_report_too_late_change_nothing(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.silent = {"do b"}
        job = await works.submit("toy_hasty", uuid)
        await works.end(job)
        head = works.kernel.log.head
        for sending in works.agent.sent:
            await works.runner.on_report(sending.task_uuid, Report(True), sending.target)
            await works.runner.on_report(sending.task_uuid, Report(False, None, "X", "x"), sending.target)
        await works.runner.on_report("f" * 32, Report(True), works.agent.sent[0].target)
        assert works.kernel.log.head == head

        works.agent.silent, works.agent.held = set(), {"do c"}
        other = await works.submit("toy_build", await works.kernel.create("other"))
        await works.reaches(other, lambda j: j.index == 2 and bool(j.task_uuid))
        # The intent is written; the sending comes right after.
        while works.agent.sent[-1].args.value != "do c":  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0)
        first = next(s for s in works.agent.sent[::-1] if s.args.value == "do a")
        twice, host = works.agent.sent[-1].task_uuid, works.agent.sent[-1].target
        head = works.kernel.log.head
        await works.runner.on_report(first.task_uuid, Report(False, None, "X", "x"), host)
        # What is another host's to report, nobody else reports; nor the progress of it.
        await works.runner.on_report(twice, Report(True), "b" * 32)
        works.runner.on_progress(twice, 99, "as if", "b" * 32)
        assert other not in works.runner.progress
        assert works.kernel.log.head == head
        await asyncio.gather(*(works.runner.on_report(twice, Report(True), host) for _ in range(2)))
        assert (await works.end(other)).state is JobState.SUCCEEDED

    driven(tmp_path, body)


def test_one_job_at_a_time_per_resource_in_order(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.held = {"do a"}
        first = await works.submit("toy_build", uuid)
        second = await works.submit("toy_drain", uuid)
        third = await works.submit("toy_drain", uuid)
        await works.reaches(first, lambda j: bool(j.task_uuid))
        assert [(await works.job(j)).state for j in (second, third)] == [JobState.WAITING] * 2
        elsewhere = await works.submit("toy_drain", await works.kernel.create("other"))
        assert (await works.end(elsewhere)).state is JobState.SUCCEEDED
        works.agent.release("do a")
        for job in (first, second, third):
            assert (await works.end(job)).state is JobState.SUCCEEDED
        assert works.agent.acted == ["do a", "do b", "do c", "take a", "take b", "take c"]
        assert await works.kernel.items(uuid) == ()

    driven(tmp_path, body)


def test_a_waiting_job_that_may_not_begin_any_more_fails_and_the_next_has_its_turn(tmp_path: Path) -> None:
    async def body(works: Works, uuid: str) -> None:
        works.agent.held = {"do a"}
        first = await works.submit("toy_build", uuid)
        second = await works.submit("toy_build", uuid, {"refuse": "begin"})
        third = await works.submit("toy_drain", uuid)
        works.agent.release("do a")
        await works.reaches(first, lambda j: bool(j.task_uuid))
        works.agent.release("do a")
        assert (await works.end(second)).error == "its turn has come too late"
        assert (await works.end(third)).state is JobState.SUCCEEDED
        assert (await works.job(second)).state is JobState.FAILED

    driven(tmp_path, body)


def test_a_waiting_job_can_be_cancelled(tmp_path: Path) -> None:
    """The queue can be queried and cancelled: who waits ends at once, and does nothing."""

    async def body(works: Works, uuid: str) -> None:
        works.agent.held = {"do a"}
        first = await works.submit("toy_build", uuid)
        second = await works.submit("toy_drain", uuid)
        third = await works.submit("toy_drain", uuid)
        await works.reaches(first, lambda j: bool(j.task_uuid))
        await works.tell(second, "cancel")
        cancelled = await works.end(second)
        assert cancelled.state is JobState.CANCELED
        works.agent.release("do a")
        assert (await works.end(third)).state is JobState.SUCCEEDED
        assert works.agent.acted == ["do a", "do b", "do c", "take a", "take b", "take c"]

    driven(tmp_path, body)
