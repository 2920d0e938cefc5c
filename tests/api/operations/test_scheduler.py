"""Schedulers at the door: rules, states, previews, and runs that happen once (SCH-01..03, SCH-09..12)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.api.compute.ground import Ground, on_ground, refused
from tests.api.operations.scheduled import ended, in_seconds, job, on_node, runs, scheduler, stamp, state_of, turn, zone
from tests.support.cloud import Api, until
from zcloud.kernel.clock import SECOND

PERIOD = 600


async def get(api: Api, uuid: str) -> Any:
    return (await api.call("GetScheduler", uuid=uuid)).inventory


def test_a_scheduler_runs_its_jobs_once_at_each_moment(tmp_path: Path) -> None:
    """SCH-01, SCH-02, SCH-09, SCH-10: a counted one is Completed after its last run."""

    async def body(api: Api) -> None:
        clock = turn(api)
        here = await zone(api)
        made = await scheduler(api, interval=PERIOD, repeat_count=2)
        assert (state_of(made), made.type) == ("ENABLED", made.TYPE_INTERVAL)
        work = await job(api, here, scheduler_uuids=[made.uuid])
        assert work.scheduler_uuids == [made.uuid]
        assert await runs(api) == []
        clock.turned += PERIOD
        first = (await ended(api, 1))[0]
        assert state_of(first) == "SUCCEEDED", first
        assert first.planned_date.ToMicroseconds() == made.next_fire_date.ToMicroseconds()
        assert [t.state for t in first.targets] == [first.targets[0].STATE_SUCCEEDED]
        assert (await api.call("GetZone", uuid=here)).inventory.description == "done"
        assert (await get(api, made.uuid)).fired_count == 1
        clock.turned += PERIOD
        await ended(api, 2)
        after = await get(api, made.uuid)
        assert (state_of(after), after.fired_count) == ("COMPLETED", 2)
        assert not after.HasField("next_fire_date")
        clock.turned += 5 * PERIOD
        await asyncio.sleep(1.2)
        assert len(await runs(api)) == 2
        shown = (await api.call("GetSchedulerJob", uuid=work.uuid)).inventory
        assert (shown.last_run_state, list(shown.running_occurrence_uuids)) == ("Succeeded", [])

    on_node(tmp_path, body)


def test_a_clock_that_goes_back_or_far_ahead_runs_nothing_twice(tmp_path: Path) -> None:
    """Forward is an outage: one run is made up for, the others are said to be missed. Back is nothing."""

    async def body(api: Api) -> None:
        clock = turn(api)
        made = await scheduler(api, interval=60, catch_up_window=120)
        await job(api, await zone(api), scheduler_uuids=[made.uuid])
        clock.turned += 61
        await ended(api, 1)
        clock.turned -= 61
        await asyncio.sleep(1.2)
        assert len(await runs(api)) == 1
        clock.turned += 61 + 60 * 59
        found = await ended(api, 3)
        assert [state_of(run) for run in found] == ["SUCCEEDED", "MISSED", "SUCCEEDED"]
        assert found[1].missed_count == 58
        assert found[1].reason == "MISSED"
        after = await get(api, made.uuid)
        assert (after.fired_count, after.missed_count) == (2, 58)
        # A rule that plans the past anew: those moments have been.
        await api.call("UpdateScheduler", uuid=made.uuid, jitter=1)
        clock.turned -= 300
        await api.call("UpdateScheduler", uuid=made.uuid, jitter=0)
        clock.turned += 300
        found = await ended(api, 4)
        assert [state_of(run) for run in found].count("SUCCEEDED") == 2
        uuids = [run.uuid for run in found]
        assert len(uuids) == len(set(uuids))

    on_node(tmp_path, body)


def test_the_stores_clock_says_what_is_due(tmp_path: Path) -> None:
    """SCH-02: a node whose own clock is slow fires when the others would."""

    async def body(api: Api) -> None:
        made = await scheduler(api, interval=PERIOD)
        await job(api, await zone(api), scheduler_uuids=[made.uuid])
        await asyncio.sleep(0.2)
        assert await runs(api) == []
        api.node.cloud.leases.ahead = PERIOD * SECOND
        (run,) = await ended(api, 1)
        assert (state_of(run), run.planned_date) == ("SUCCEEDED", made.next_fire_date)
        upcoming = (await api.call("CreateScheduler", name="next", interval=PERIOD)).inventory.next_fire_date
        assert upcoming.ToMicroseconds() >= made.next_fire_date.ToMicroseconds() + PERIOD * SECOND

    on_node(tmp_path, body)


def test_an_outage_beyond_the_window_is_missed_and_said_so(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        clock = turn(api)
        made = await scheduler(api, start_time=in_seconds(api, 30), catch_up_window=10)
        await job(api, await zone(api), scheduler_uuids=[made.uuid])
        clock.turned += PERIOD
        found = await ended(api, 1)
        assert [(state_of(run), run.missed_count) for run in found] == [("MISSED", 1)]
        assert state_of(await get(api, made.uuid)) == "COMPLETED"
        report = await api.call(
            "GetSchedulerExecutionReport", period="day", from_time=in_seconds(api, -3 * PERIOD), time_zone="Asia/Tokyo"
        )
        assert [(p.total, p.missed) for p in report.periods] == [(1, 1)]

    on_node(tmp_path, body)


def test_copies_are_made_up_for_within_a_day_and_other_actions_within_minutes(tmp_path: Path) -> None:
    """SCH-02: unless somebody says how late a run may be."""

    async def body(here: Ground) -> None:
        api, clock = here.api, turn(here.api)
        volume = (await here.create()).root_volume_uuid
        copies = {"type": "volume_snapshot", "action": "", "arguments": "", "reserved_snapshots": 2}

        async def late(hours: float, **fields: Any) -> dict[str, str]:
            made = await scheduler(api, start_time=in_seconds(api, 30), **fields)
            attached = {"scheduler_uuids": [made.uuid]}
            jobs = {(await job(api, volume, **copies, **attached)).uuid: "copy"}
            jobs[(await job(api, here.zone, **attached)).uuid] = "other"
            clock.turned += 3600 * hours
            # Sessions do not last as long.
            password = (api.node.directory / "admin-password").read_text().strip()
            api.token = (await Api(api.node, api.channel).logged_in("admin", password)).token
            found = await ended(api, 2, f'scheduler_uuid = "{made.uuid}"')
            assert state_of(await get(api, made.uuid)) == "COMPLETED"
            missed = [run for run in found if state_of(run) == "MISSED"]
            assert all(run.missed_count == 1 and run.reason == "MISSED" for run in missed)
            return {jobs[run.scheduler_job_uuid]: state_of(run) for run in found}

        assert await late(23) == {"copy": "SUCCEEDED", "other": "MISSED"}
        assert await late(25) == {"copy": "MISSED", "other": "MISSED"}
        assert await late(2, catch_up_window=600) == {"copy": "MISSED", "other": "MISSED"}
        made = await scheduler(api, interval=60)
        assert (made.catch_up_by_job, made.catch_up_window) == (True, 600)
        said = await api.call("UpdateScheduler", uuid=made.uuid, catch_up_window=600)
        assert not said.inventory.catch_up_by_job

    on_ground(tmp_path, body)


def test_paused_and_disabled_schedulers_run_nothing_and_make_nothing_up(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        clock = turn(api)
        made = await scheduler(api, interval=PERIOD)
        await job(api, await zone(api), scheduler_uuids=[made.uuid])
        paused = (await api.call("PauseScheduler", uuid=made.uuid, note="moving house")).inventory
        assert (state_of(paused), paused.note) == ("PAUSED", "moving house")
        assert not paused.HasField("next_fire_date")
        clock.turned += 3 * PERIOD
        await asyncio.sleep(1.1)
        assert await runs(api) == []
        resumed = (await api.call("ResumeScheduler", uuid=made.uuid)).inventory
        assert (resumed.next_fire_date.ToMicroseconds() - made.start_time.ToMicroseconds()) == 3 * PERIOD * SECOND
        off = (await api.call("ChangeSchedulerState", uuid=made.uuid, state_event="disable")).inventory
        assert state_of(off) == "DISABLED"
        error = await refused(api.call("ResumeScheduler", uuid=made.uuid))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "WRONG_STATE")
        await api.call("ChangeSchedulerState", uuid=made.uuid, state_event="enable")
        clock.turned += PERIOD
        await ended(api, 1)

    on_node(tmp_path, body)


def test_a_scheduler_that_is_deleted_only_lets_go_of_its_jobs(tmp_path: Path) -> None:
    """SCH-03, SCH-04: they may join others."""

    async def body(api: Api) -> None:
        one, two = await scheduler(api, interval=PERIOD), await scheduler(api, cron="0 0 1 1 *")
        work = await job(api, await zone(api), scheduler_uuids=[one.uuid, two.uuid])
        error = await refused(
            api.call("AttachSchedulerJobToScheduler", scheduler_job_uuid=work.uuid, scheduler_uuid=one.uuid)
        )
        assert error.reason == "ALREADY_ATTACHED"
        await api.call("DeleteScheduler", uuid=one.uuid)
        shown = (await api.call("GetSchedulerJob", uuid=work.uuid)).inventory
        assert list(shown.scheduler_uuids) == [two.uuid]
        await api.call("DetachSchedulerJobFromScheduler", scheduler_job_uuid=work.uuid, scheduler_uuid=two.uuid)
        error = await refused(
            api.call("DetachSchedulerJobFromScheduler", scheduler_job_uuid=work.uuid, scheduler_uuid=two.uuid)
        )
        assert error.reason == "NOT_ATTACHED"
        assert list((await get(api, two.uuid)).scheduler_job_uuids) == []
        await api.call("AttachSchedulerJobToScheduler", scheduler_job_uuid=work.uuid, scheduler_uuid=two.uuid)
        await api.call("DeleteSchedulerJob", uuid=work.uuid)
        assert list((await get(api, two.uuid)).scheduler_job_uuids) == []

    on_node(tmp_path, body)


def test_previews_runs_now_and_runs_for_the_past(tmp_path: Path) -> None:
    """Each has occurrences of its own, and those of the past are made up for once."""

    async def body(api: Api) -> None:
        berlin = {"cron": "0 30 2 ? * SUN", "time_zone": "Europe/Berlin"}
        start = stamp(1_792_800_000 * SECOND)  # 2026-10-24, the day before clocks go back
        shown = await api.call("PreviewScheduler", count=2, from_time=start, **berlin)
        assert [i.local_time for i in shown.instants] == ["2026-10-25T02:30:00+02:00", "2026-11-01T02:30:00+01:00"]
        # No full hour passes while this goes on.
        turn(api).turned = (1800 - api.node.cloud.clock.now() / SECOND) % 3600
        made = await scheduler(api, cron="0 * * * *")
        same = await api.call("PreviewScheduler", uuid=made.uuid)
        assert len(same.instants) == 10
        assert same.instants[0].time == made.next_fire_date
        error = await refused(api.call("RunSchedulerNow", uuid=made.uuid))
        assert error.code == "FAILED_PRECONDITION"
        work = await job(api, await zone(api), scheduler_uuids=[made.uuid])
        now = await api.call("RunSchedulerNow", uuid=made.uuid, scheduler_job_uuids=[work.uuid])
        assert len(now.occurrence_uuids) == 1
        span = {"from_time": in_seconds(api, -5 * 3600), "to_time": in_seconds(api, 0)}
        past = await api.call("BackfillScheduler", uuid=made.uuid, **span)
        assert len(past.occurrence_uuids) == 5
        again = await api.call("BackfillScheduler", uuid=made.uuid, **span)
        assert list(again.occurrence_uuids) == []
        found = await ended(api, 6)
        assert [state_of(run) for run in found] == ["SUCCEEDED"] * 6
        kinds = [run.trigger_type for run in found]
        assert (kinds.count(found[0].TRIGGER_TYPE_NOW), kinds.count(found[0].TRIGGER_TYPE_BACKFILL)) == (1, 5)
        error = await refused(api.call("BackfillScheduler", uuid=made.uuid, **{**span, "to_time": in_seconds(api, 60)}))
        assert error.fields == ["to_time"]

    on_node(tmp_path, body)


async def _is(api: Api, uuid: str, state: str) -> Any:
    async def look() -> Any:
        found = await get(api, uuid)
        return found if state_of(found) == state else None

    return await until(look)


def test_a_scheduler_may_pause_when_a_run_fails(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        made = await scheduler(api, start_time=in_seconds(api, 1), interval=PERIOD, pause_on_failure=True)
        here = await zone(api)
        await job(api, here, action="DeleteZone", arguments="{}", scheduler_uuids=[made.uuid])
        api.node.cloud.ports["actions"].act = _broken
        paused = await _is(api, made.uuid, "PAUSED")
        assert "as ordered" in paused.note

    on_node(tmp_path, body)


async def _broken(order: Any) -> None:
    from zcloud.kernel.errors import Reason, precondition

    raise precondition(Reason.BUSY, "as ordered")
