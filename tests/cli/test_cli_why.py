"""zcloud why: each cause that a machine's state can have, as an operator reads it (ARC-14, LOG-08, SCH-12)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.simulator.fleet import Fleet
from tests.api.compute.ground import GIB, Ground, on_ground
from tests.api.operations.scheduled import ended, in_seconds, job, runs, scheduler
from tests.support.cloud import simulated_hosts, until
from zcloud.cli.main import main

AT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
Why = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """Runs a body in a cloud of its own, with the command line of its admin."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(body: Callable[[Ground, Why], Awaitable[None]], hosts: int = 1) -> None:
        async def whole(here: Ground) -> None:
            monkeypatch.setenv("ZCLOUD_SERVER", here.api.node.address)
            monkeypatch.setenv("ZCLOUD_TOKEN", here.api.token)

            async def why(*words: str) -> list[str]:
                capsys.readouterr()
                assert await asyncio.to_thread(main, ["why", *words]) == 0
                return [re.sub(AT, "T", line.strip()) for line in str(capsys.readouterr().out).splitlines()]

            await body(here, why)

        on_ground(tmp_path / "data", whole, hosts)

    return run


def test_a_person_who_said_why(asked: Any) -> None:
    async def body(here: Ground, why: Why) -> None:
        vm = (await here.create()).uuid
        await here.api.call("UpdateVmInstance", {"zcloud-reason": "before"}, uuid=vm, description="d")
        await here.api.done("StopVmInstance", {"zcloud-reason": "night"}, uuid=vm)
        said = await why(vm)
        assert said[0] == 'vm instance "web": state is Stopped since T (before: Stopping)'
        assert re.fullmatch(r'by (step \w+ of )?job "stop VM web" \(\w+\)', said[1])
        assert re.fullmatch(r'asked for by admin from \S+ with StopVmInstance at T: "night"', said[2])
        assert len(said) == 3  # what was decided before is no reason of a person's own order

    asked(body)


def test_a_host_that_was_lost_and_what_people_had_decided_before(asked: Any) -> None:
    """Host, moment, node, and earlier decisions with their reasons; then the host comes back without the machine."""

    async def body(here: Ground, why: Why) -> None:
        vm, node = (await here.create()).uuid, here.api.node.cluster.name
        await here.api.call("UpdateVmInstance", {"zcloud-reason": "first"}, uuid=vm, description="quiet")
        await here.api.call("UpdateVmInstance", {"zcloud-reason": "noisy neighbour"}, uuid=vm, description="loud")
        await here.api.call("UpdateVmInstance", uuid=vm, name="renamed")
        await here.fleet.stop()
        await here.becomes(vm, "UNKNOWN")
        lost = f'because host "host-1" was lost at T (the connection to its agent was lost), seen by node {node}'
        before = 'decided before: description is loud since T, set by admin with UpdateVmInstance: "noisy neighbour"'
        assert await why(vm) == ['vm instance "renamed": state is Unknown since T (before: Running)', lost, before]
        told = await why(here.host.host_uuid, "status")
        seen = f'seen by node {node}: "the connection to its agent was lost"'
        assert told[0].startswith('simulator host "host-1": status is Disconnected since T')
        assert told[1] == f"because of the watch over the hosts at T, {seen}"
        del here.host.world.vms[vm]
        async with simulated_hosts(here.api, here.host) as fleet:
            assert isinstance(fleet, Fleet)
            await here.becomes(vm, "STOPPED")
            told = await why(vm)
        assert told[0] == 'vm instance "renamed": state is Stopped since T (before: Unknown)'
        # Its agent dials in and says what it has when asked, or by itself: whichever is first.
        back = ("because of the watch over the hosts at T", 'because of a report of its host "host-1" at T')
        assert told[-4].startswith(back), told
        assert f"seen by node {node}: " in told[-4]
        assert told[-3:] == ["before that state was Unknown since T", lost, before]

    asked(body)


def test_a_guest_that_powered_off(asked: Any) -> None:
    async def body(here: Ground, why: Why) -> None:
        vm, node = (await here.create()).uuid, here.api.node.cluster.name
        here.host.world.guest_powers_off(vm)
        await here.becomes(vm, "STOPPED")
        told = await why(vm)
        assert told[0].startswith('vm instance "web": state is Stopped since T')
        assert (
            told[-1]
            == f'because of a report of its host "host-1" at T, seen by node {node}: "found Stopped on its host"'
        )

    asked(body)


def test_a_job_that_is_stuck(asked: Any) -> None:
    """ARC-12: what failed first is told beside what could not be undone, and is what it failed for in the end."""

    async def body(here: Ground, why: Why) -> None:
        here.order("CreateDataVolumeTask", words="the disk is broken")
        here.order("DeleteVolumeTask", words="the file is busy")
        request = {"name": "v", "disk_size": GIB, "primary_storage_uuid": here.storage}
        made = await here.api.call("CreateDataVolume", **request)

        async def stuck() -> Any:
            found = (await here.api.call("GetJob", uuid=made.job_uuid)).inventory
            return found if found.state == found.STATE_STUCK else None

        job = await until(stuck)
        assert (job.first_error, job.error) == ("the disk is broken", "the file is busy")
        filter = 'state = Stuck AND first_error : "broken"'
        assert (await here.api.call("QueryJob", filter=filter, count=True)).total == 1
        told = await why(made.job_uuid)
        assert told[1].endswith("which failed: the disk is broken; then undoing it failed: the file is busy")
        await here.api.call("RetryJob", uuid=job.uuid)
        job = await here.api.wait(job.uuid)
        assert (job.state, job.error) == (job.STATE_FAILED, "the disk is broken")

    asked(body)


def test_a_scheduler_on_behalf_of_somebody(asked: Any) -> None:
    """By its time, and because somebody wanted it now."""

    async def body(here: Ground, why: Why) -> None:
        _, alice = await here.api.account("alice")
        await here.api.call("ShareResource", resource_uuids=[here.image, here.l3], to_public=True)
        vm = (await alice.done("CreateVmInstance", **here.fields())).inventory.uuid
        nightly = await scheduler(alice, name="nightly", start_time=in_seconds(here.api, 1))
        stop = {"action": "", "arguments": "", "type": "stop_vm", "name": "lights out"}
        await job(alice, vm, scheduler_uuids=[nightly.uuid], **stop)
        await here.becomes(vm, "STOPPED")
        told = await why(vm)
        ran = 'by scheduler "nightly" on behalf of alice with StopVmInstance at T: "scheduled job "lights out""'
        assert re.fullmatch(r'by (step \w+ of )?job "stop VM web" \(\w+\)', told[1])
        assert told[2:] == [ran]
        (run,) = await ended(here.api, 1)
        assert (await why(run.uuid))[-1] == 'by scheduler "nightly" on behalf of alice at T'
        await alice.done("StartVmInstance", uuid=vm)
        rarely = await scheduler(alice, name="rarely", cron="0 0 1 1 *")
        again = await job(alice, vm, scheduler_uuids=[rarely.uuid], **stop)
        await here.api.call("RunSchedulerNow", {"zcloud-reason": "fire drill"}, uuid=rarely.uuid)
        await here.becomes(vm, "STOPPED")
        await alice.call("DeleteScheduler", uuid=rarely.uuid)
        told = await why(vm)
        assert told[2] == ran.replace("nightly", "rarely")  # also of one that is gone
        assert re.fullmatch(r'asked for by admin from \S+ with RunSchedulerNow at T: "fire drill"', told[3])
        assert len(await runs(here.api, f'scheduler_job_uuid = "{again.uuid}"')) == 1

    asked(body)


def test_what_a_cloud_is_born_with(asked: Any) -> None:
    async def body(here: Ground, why: Why) -> None:
        settings = await here.api.call("QueryGlobalConfig", page_size=1)
        told = await why(settings.inventories[0].uuid, "value")
        assert told[1].startswith("because of the first start of this cloud at T")

    asked(body)
