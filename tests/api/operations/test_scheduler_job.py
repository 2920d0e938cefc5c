"""Scheduled jobs at the door: actions, targets, rights, what is kept (SCH-04..08, SCH-11..17); runs are beside."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import Ground, on_ground, refused
from tests.api.conftest import Furnished
from tests.api.operations.scheduled import (
    RARELY,
    becomes,
    get,
    in_seconds,
    job,
    on_node,
    run_now,
    runs,
    scheduler,
    stamp,
    state_of,
    targets,
    zone,
)
from tests.support.cloud import Api, ApiError, until
from zcloud.kernel.clock import SECOND
from zcloud.kernel.context import Actor


def test_vms_are_stopped_and_started_by_their_jobs(tmp_path: Path) -> None:
    """SCH-05, SCH-06, SCH-12: one job, several VMs; the scheduler is the operator on behalf of its owner."""

    async def body(here: Ground) -> None:
        api = here.api
        one, two = (await here.create(name="one")).uuid, (await here.create(name="two")).uuid
        made = await scheduler(api, **RARELY)
        off = await job(api, one, two, type="stop_vm", action="", arguments="", scheduler_uuids=[made.uuid])
        assert (off.action, off.target_kind, off.type) == ("StopVmInstance", "vm_instance", off.TYPE_STOP_VM)
        run = await becomes(api, await run_now(api, made.uuid), "SUCCEEDED", "FAILED")
        assert targets(run) == [("SUCCEEDED", ""), ("SUCCEEDED", "")]
        assert [await here.state(uuid) for uuid in (one, two)] == ["STOPPED", "STOPPED"]
        work = (await api.call("GetJob", uuid=run.targets[0].job_uuid)).inventory
        assert work.workflow == "stop_vm_instance"
        told = (await api.call("GetHistory", resource_uuid=one)).events
        stops = [e for e in told if e.origin == "StopVmInstance" and e.type == "job.Created"]
        assert [e.actor.source for e in stops] == [f"scheduler:{made.uuid}"]
        assert stops[0].correlation_id == run.uuid
        logged = await api.call("QueryOperationLog", filter='name = "StopVmInstance"')
        assert [(c.account_name, c.source, c.success) for c in logged.inventories] == [
            ("admin", f"scheduler:{made.uuid}", True)
        ] * 2
        on = await job(api, one, type="start_vm", action="", arguments="", scheduler_uuids=[made.uuid])
        run = await becomes(api, await run_now(api, made.uuid, scheduler_job_uuids=[on.uuid]), "SUCCEEDED", "FAILED")
        assert await here.state(one) == "RUNNING"
        listed = await api.call("QuerySchedulerJob", filter=f'targets.target_uuid = "{two}" AND state = Enabled')
        assert [j.uuid for j in listed.inventories] == [off.uuid]
        assert (await api.call("QueryScheduler", filter="state = Enabled", count=True)).total == 1

    on_ground(tmp_path, body)


def test_a_target_in_the_recycle_bin_waits_and_one_that_is_gone_is_none(tmp_path: Path) -> None:
    """A recovered VM takes no part before somebody enables the job; an expunged one takes the job with it."""

    async def body(here: Ground) -> None:
        api = here.api
        vm = (await here.create()).uuid
        made = await scheduler(api, **RARELY)
        work = await job(api, vm, type="reboot_vm", action="", arguments="", scheduler_uuids=[made.uuid])
        await api.done("DeleteVmInstance", uuid=vm)

        async def disabled() -> Any:
            found = await get(api, work.uuid)
            return found if state_of(found) == "DISABLED" else None

        found = await until(disabled)
        assert state_of(found.targets[0]) == "DISABLED"
        assert "recycle bin" in found.targets[0].note
        await api.done("RecoverVmInstance", uuid=vm)
        assert state_of(await get(api, work.uuid)) == "DISABLED"
        on = await api.call("ChangeSchedulerJobState", uuid=work.uuid, state_event="enable")
        assert (state_of(on.inventory), state_of(on.inventory.targets[0])) == ("ENABLED", "ENABLED")
        await api.done("DeleteVmInstance", uuid=vm)
        await api.done("ExpungeVmInstance", uuid=vm)

        async def gone() -> bool:
            return not (await api.call("QuerySchedulerJob")).inventories

        await until(gone)
        shown = (await api.call("GetScheduler", uuid=made.uuid)).inventory
        assert list(shown.scheduler_job_uuids) == []

    on_ground(tmp_path, body)


def test_a_target_that_changed_hands_waits_and_jobs_go_with_their_account(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        account, tenant = await api.account("tenant")
        vm = (await here.create()).uuid
        made = await scheduler(api, **RARELY)
        work = await job(api, vm, type="stop_vm", action="", arguments="", scheduler_uuids=[made.uuid])
        await api.call("ChangeResourceOwner", resource_uuid=vm, account_uuid=account)

        async def disabled() -> Any:
            found = await get(api, work.uuid)
            return found if state_of(found) == "DISABLED" else None

        assert "another account" in (await until(disabled)).targets[0].note
        theirs = await scheduler(tenant, **RARELY)
        order = {"name": "j", "type": "stop_vm", "resource_uuids": [vm], "scheduler_uuids": [theirs.uuid]}
        await tenant.call("CreateSchedulerJob", **order)
        await api.call("AttachSchedulerJobToScheduler", scheduler_job_uuid=work.uuid, scheduler_uuid=theirs.uuid)
        await api.done("DeleteAccount", uuid=account, delete_mode="enforcing")

        async def gone() -> bool:
            return not (await api.call("QuerySchedulerJob")).inventories

        await until(gone)  # theirs with the account, and the other with its only target
        left = (await api.call("QueryScheduler")).inventories
        assert [(s.uuid, list(s.scheduler_job_uuids)) for s in left] == [(made.uuid, [])]

    on_ground(tmp_path, body)


def test_snapshots_come_by_schedule_and_the_newest_are_kept(tmp_path: Path) -> None:
    """SCH-05, SCH-08, SCH-13: advice comes with the answer."""

    async def body(here: Ground) -> None:
        api = here.api
        volume = (await here.create()).root_volume_uuid
        persons = await api.done("CreateVolumeSnapshot", volume_uuid=volume, name="a person's")
        made = await scheduler(api, interval=60, start_time=in_seconds(api, 86_400))
        fields = {"name": "j", "type": "volume_snapshot", "resource_uuids": [volume]}
        told = await api.call("CreateSchedulerJob", reserved_snapshots=1, scheduler_uuids=[made.uuid], **fields)
        assert [w for w in told.warnings if "once an hour" in w]
        keeps = await api.call("CreateSchedulerJob", **fields)
        assert [w for w in keeps.warnings if "never removed" in w]
        many = await api.call("UpdateSchedulerJob", uuid=keeps.inventory.uuid, reserved_snapshots=40)
        assert [w for w in many.warnings if "at most 5" in w]
        newest = ""
        for _ in range(3):
            run = await becomes(api, await run_now(api, made.uuid), "SUCCEEDED", "FAILED")
            newest = run.targets[0].made_uuid
            assert state_of(run) == "SUCCEEDED", run

        async def settled() -> bool:
            found = await api.call("QueryVolumeSnapshot", filter=f'volume_uuid = "{volume}"')
            return {s.uuid for s in found.inventories} == {persons.inventory.uuid, newest}

        await until(settled)

    on_ground(tmp_path, body)


def test_all_volumes_of_a_vm_at_once_and_a_reboot_in_its_turn(tmp_path: Path) -> None:
    """SCH-05, SNP-07: the newest groups are kept, and their snapshots with them; the guest is really started anew."""

    async def body(here: Ground) -> None:
        api = here.api
        vm = (await here.create()).uuid
        where = {"disk_size": 1 << 30, "primary_storage_uuid": here.storage}
        data = await api.done("CreateDataVolume", name="data", **where)
        await api.done("AttachDataVolumeToVm", volume_uuid=data.inventory.uuid, vm_instance_uuid=vm)
        made = await scheduler(api, **RARELY)
        fields = {"action": "", "arguments": "", "scheduler_uuids": [made.uuid]}
        groups = await job(api, vm, type="vm_snapshot", name="groups", reserved_snapshots=1, **fields)
        assert (groups.action, groups.target_kind) == ("CreateVolumeSnapshotGroup", "vm_instance")
        made_uuids = []
        for _ in range(2):
            run = await becomes(api, await run_now(api, made.uuid), "SUCCEEDED", "FAILED")
            assert targets(run) == [("SUCCEEDED", "")], run
            made_uuids.append(run.targets[0].made_uuid)

        async def settled() -> list[Any]:
            found = (await api.call("QueryVolumeSnapshotGroup")).inventories
            return list(found) if [group.uuid for group in found] == made_uuids[1:] else []

        (kept,) = await until(settled)
        assert kept.vm_instance_uuid == vm
        taken = (await api.call("QueryVolumeSnapshot")).inventories
        root = (await here.vm(vm)).root_volume_uuid
        assert {s.volume_uuid for s in taken} == {root, data.inventory.uuid}
        off = await job(api, vm, type="reboot_vm", name="reboots", **fields)
        run = await becomes(api, await run_now(api, made.uuid, scheduler_job_uuids=[off.uuid]), "SUCCEEDED", "FAILED")
        assert targets(run) == [("SUCCEEDED", "")], run
        told = (await api.call("GetHistory", resource_uuid=vm)).events
        states = [e.type for e in told if e.correlation_id == run.uuid and e.resource_kind == "vm_instance"]
        assert await here.state(vm) == "RUNNING"
        assert any("Reboot" in name or "Stopp" in name for name in states), states

    on_ground(tmp_path, body)


def test_the_newest_that_a_job_has_made_are_kept_and_nobody_elses_is_touched(tmp_path: Path) -> None:
    """SCH-08, by an action that makes something of a resource."""

    async def body(api: Api) -> None:
        here = await zone(api)
        l2 = await api.call("CreateL2NoVlanNetwork", name="l2", zone_uuid=here, physical_interface="eth1")
        where = {"l2_network_uuid": l2.inventory.uuid}
        persons = (await api.call("CreateL3Network", name="a person's", **where)).inventory.uuid
        made = await scheduler(api, **RARELY)
        order = {"action": "CreateL3Network", "arguments": "", "reserved_snapshots": 2}
        work = await job(api, l2.inventory.uuid, scheduler_uuids=[made.uuid], **order)
        assert work.target_field == "l2_network_uuid"
        products = []
        for _ in range(4):
            run = await becomes(api, await run_now(api, made.uuid), "SUCCEEDED", "FAILED")
            products.append(run.targets[0].made_uuid)
            assert products[-1], run

        async def kept() -> set[str]:
            found = await api.call("QueryL3Network")
            return {l3.uuid for l3 in found.inventories}

        async def settled() -> bool:
            return await kept() == {persons, *products[-2:]}

        await until(settled)
        await api.done("DeleteL3Network", uuid=products[-1])
        run = await becomes(api, await run_now(api, made.uuid), "SUCCEEDED", "FAILED")
        await asyncio.sleep(0.3)
        assert await kept() == {persons, products[-2], run.targets[0].made_uuid}

    on_node(tmp_path, body)


def test_rights_are_those_of_who_made_the_job_and_asked_for_at_each_run(tmp_path: Path) -> None:
    """SCH-17: any action, under the rights of its maker; not on what is somebody else's."""

    async def body(here: Ground) -> None:
        admin = here.api
        _, tenant = await admin.account("tenant")
        vm = (await here.create()).uuid
        for fields in ({"type": "stop_vm"}, {"action": "UpdateVmInstance", "arguments": '{"name": "mine"}'}):
            error = await refused(tenant.call("CreateSchedulerJob", name="j", resource_uuids=[vm], **fields))
            assert error.code == "NOT_FOUND"
        await admin.call("ShareResource", resource_uuids=[here.image], to_public=True)
        shared = {"name": "j", "action": "UpdateImage", "resource_uuids": [here.image]}
        error = await refused(tenant.call("CreateSchedulerJob", **shared))
        assert error.code == "PERMISSION_DENIED"
        zone_job = {"name": "j", "action": "DeleteZone", "resource_uuids": [here.zone]}
        error = await refused(tenant.call("CreateSchedulerJob", **zone_job))
        assert (error.code, error.facts["permission"]) == ("PERMISSION_DENIED", "zone:delete")
        made, theirs = await scheduler(tenant, **RARELY), await scheduler(admin, **RARELY)
        own = await job(admin, here.image, action="UpdateImage", scheduler_uuids=[theirs.uuid])
        attach = {"scheduler_job_uuid": own.uuid, "scheduler_uuid": made.uuid}
        assert (await refused(tenant.call("AttachSchedulerJobToScheduler", **attach))).code == "NOT_FOUND"
        # The maker has lost what the admin may: the run finds out.
        real = admin.node.cloud.ports["actions"].act
        less = Actor(account_uuid=made.account_uuid)
        admin.node.cloud.ports["actions"].act = lambda order: real(replace(order, made_by=less))
        run = await becomes(admin, await run_now(admin, theirs.uuid), "FAILED", "SUCCEEDED")
        assert targets(run) == [("FAILED", "NOT_ALLOWED")]
        assert run.targets[0].attempts == 1

    on_ground(tmp_path, body)


@pytest.mark.parametrize(
    ("fields", "code", "field", "says"),
    [
        ({"action": "FrobnicateVm"}, "INVALID_ARGUMENT", "action", "StopVmInstance"),
        ({"action": "QueryZone"}, "INVALID_ARGUMENT", "action", "changes a resource"),
        ({"action": "RunSchedulerNow"}, "INVALID_ARGUMENT", "action", "changes a resource"),
        ({"action": "CreateZone"}, "INVALID_ARGUMENT", "action", "act on a resource"),
        ({"action": "UpdateKvmHost"}, "INVALID_ARGUMENT", "action", "secret"),
        ({"action": ""}, "INVALID_ARGUMENT", "action", "name of an RPC"),
        ({"action": "AttachL2NetworkToCluster", "arguments": ""}, "INVALID_ARGUMENT", "target_field", "cluster_uuid"),
        ({"target_field": "name"}, "INVALID_ARGUMENT", "target_field", "uuid"),
        ({"type": "stop_vm"}, "INVALID_ARGUMENT", "action", "StopVmInstance or absent"),
        ({"arguments": "["}, "INVALID_ARGUMENT", "arguments", "JSON"),
        ({"arguments": "[]"}, "INVALID_ARGUMENT", "arguments", "JSON object"),
        ({"arguments": '{"colour": "red"}'}, "INVALID_ARGUMENT", "arguments", "UpdateZoneRequest"),
        ({"arguments": '{"uuid": "x"}'}, "INVALID_ARGUMENT", "arguments", "where the target goes"),
        ({"arguments": '{"name": " x"}'}, "INVALID_ARGUMENT", "arguments", "without space"),
        ({"resource_uuids": ["0" * 32]}, "NOT_FOUND", "", "no zone"),
        ({"resource_uuids": []}, "INVALID_ARGUMENT", "resource_uuids", "empty"),
        ({"action": "UpdateCluster", "arguments": ""}, "INVALID_ARGUMENT", "resource_uuids[0]", "it is a zone"),
        ({"reserved_snapshots": 3}, "INVALID_ARGUMENT", "reserved_snapshots", "makes nothing"),
        ({"max_retries": 11}, "INVALID_ARGUMENT", "max_retries", "at most 10"),
        ({"scheduler_uuids": ["0" * 32]}, "NOT_FOUND", "", "no scheduler"),
    ],
)
def test_jobs_that_can_never_be_right(
    furnished: Furnished, fields: dict[str, Any], code: str, field: str, says: str
) -> None:
    given = {
        "name": "j",
        "action": "UpdateZone",
        "arguments": '{"description": "x"}',
        "resource_uuids": [furnished.known["zone"]],
        **fields,
    }
    with pytest.raises(ApiError) as error:
        furnished.admin.call("CreateSchedulerJob", **given)
    assert error.value.code == code, error.value
    assert error.value.fields == ([field] if field else [])
    assert says in error.value.message


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"interval": 0}, "interval", "at least 1 second"),
        ({"cron": "0 0 31 2 *"}, "cron", "no month that it names"),
        ({"cron": "0 0 * * * *"}, "cron", '"?"'),
        ({"cron": "0 0 * * *", "interval": 5}, "cron", "one of them"),
        ({"interval": 5, "time_zone": "Europe/Atlantis"}, "time_zone", "Europe/Berlin"),
        ({"interval": 60, "start_time": 4_000_000_000, "stop_time": 3_999_999_999}, "stop_time", "before start_time"),
        ({"cron": "0 0 1 1 *", "stop_time": 1_000_000_000}, "stop_time", "no moment in the future"),
        ({"start_time": 1_000_000_000}, "start_time", "future"),
        ({"interval": 315_360_000, "repeat_count": 1_000_000}, "repeat_count", "at most"),
        ({"interval": 60, "jitter": 61}, "jitter", "at most the interval"),
        ({"interval": 60, "catch_up_window": 9}, "catch_up_window", "at least 10"),
    ],
)
def test_rules_that_can_never_be_right(furnished: Furnished, fields: dict[str, Any], field: str, says: str) -> None:
    given = {name: stamp(v * SECOND) if name.endswith("_time") else v for name, v in fields.items()}
    with pytest.raises(ApiError) as error:
        furnished.admin.call("CreateScheduler", name="s", **given)
    assert (error.value.code, error.value.fields) == ("INVALID_ARGUMENT", [field]), error.value
    assert says in error.value.message


def test_a_job_is_changed_and_its_next_run_does_what_it_says_now(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        made = await scheduler(api, **RARELY)
        here, there = await zone(api, "here"), await zone(api, "there")
        work = await job(api, here, scheduler_uuids=[made.uuid])
        error = await refused(api.call("UpdateSchedulerJob", uuid=work.uuid, arguments="{"))
        assert error.fields == ["arguments"]
        await api.call("UpdateSchedulerJob", uuid=work.uuid, arguments='{"name": "new"}', resource_uuids=[there])
        await api.call("ChangeSchedulerJobState", uuid=work.uuid, state_event="disable")
        error = await refused(api.call("RunSchedulerNow", uuid=made.uuid, scheduler_job_uuids=[work.uuid]))
        assert error.reason == "WRONG_STATE"
        await api.call("ChangeSchedulerJobState", uuid=work.uuid, state_event="enable")
        await becomes(api, await run_now(api, made.uuid), "SUCCEEDED")
        names = {z.uuid: z.name for z in (await api.call("QueryZone")).inventories}
        assert names == {here: "here", there: "new"}
        assert len(await runs(api)) == 1

    on_node(tmp_path, body)
