"""Quotas over a socket: reserved with what needs them, given back with it, and refused by name (ACC-06, ACC-07)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import DISK_BYTES, GIB, IMAGE_BYTES, Ground, on_ground, refused
from tests.support.cloud import Api, running_node
from zcloud.api.identity.quota import counted, open_anew
from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.domain.identity.quota import AccountUsage
from zcloud.domain.identity.quotas import KNOWN, MEASURED
from zcloud.domain.storage.backup_storage import BackupStorageCapacity
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit

DEFAULTS = {
    "vm.num": 20,
    "vm.totalNum": 20,
    "vm.cpuNum": 80,
    "vm.memorySize": 80 * GIB,
    "volume.data.num": 40,
    "volume.capacity": 10 << 40,
    "image.num": 20,
    "snapshot.volume.num": 200,
    "image.size": 10 << 40,
}


async def usage(api: Api, uuid: str = "") -> dict[str, int]:
    found = (await api.call("GetAccountQuotaUsage", uuid=uuid)).usages
    return {one.name: one.used for one in found if one.used}


async def tenant(here: Ground, name: str = "tenant") -> tuple[str, Api]:
    """An account that may use what a VM needs."""
    uuid, api = await here.api.account(name)
    await here.api.call("ShareResource", resource_uuids=[here.image, here.l3], account_uuids=[uuid])
    return uuid, api


async def recount(here: Ground, uuid: str) -> dict[str, int]:
    """Resource by resource, which shares nothing with the reservations but the measures."""
    found = await counted(Unit(here.api.node.cloud, Context(), 0), uuid)
    return {name: amount for name, amount in found.items() if amount}


def test_defaults_and_limits(tmp_path: Path) -> None:
    """ACC-06: every account has each quota; the admin sets it, everybody sees their own, nothing limits the admin."""

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            await api.call("UpdateGlobalConfig", category="quota", name="image.num", value="7")
            uuid, alice = await api.account("alice")
            own = (await alice.call("QueryQuota", page_size=1000)).inventories
            assert {q.name: q.value for q in own if q.name in DEFAULTS} == {**DEFAULTS, "image.num": 7}
            assert {q.name for q in own} == set(KNOWN)
            assert {q.identity_uuid for q in own} == {uuid}
            one = (await api.call("QueryQuota", filter='account.name = "alice" AND name = vm.num')).inventories[0]
            changed = await api.call("UpdateQuota", identity_uuid=uuid, name="vm.num", value=3)
            assert (changed.inventory.uuid, changed.inventory.value) == (one.uuid, 3)
            assert (await alice.call("GetQuota", uuid=one.uuid)).inventory.value == 3
            totals = {u.name: u.total for u in (await alice.call("GetAccountQuotaUsage")).usages}
            assert (totals["vm.num"], totals["image.num"], set(totals)) == (3, 7, set(KNOWN))

            wrong = await refused(api.call("UpdateQuota", identity_uuid=uuid, name="vm.number", value=3))
            assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["name"])
            assert "vm.num" in wrong.message
            admins = await refused(api.call("UpdateQuota", identity_uuid=ADMIN_UUID, name="vm.num", value=3))
            assert admins.code == "FAILED_PRECONDITION"
            denied = await refused(alice.call("UpdateQuota", identity_uuid=uuid, name="vm.num", value=300))
            assert denied.code == "PERMISSION_DENIED"
            _, bob = await api.account("bob")
            foreign = await refused(bob.call("GetAccountQuotaUsage", uuid=uuid))
            assert foreign.code == "NOT_FOUND"
            assert all(u.unlimited and not u.total for u in (await api.call("GetAccountQuotaUsage")).usages)
            await api.done("DeleteAccount", uuid=uuid)
            assert uuid not in {q.identity_uuid for q in (await api.call("QueryQuota", page_size=1000)).inventories}

    asyncio.run(main())


def test_vms_reserve_and_give_back(tmp_path: Path) -> None:
    """ACC-06, ACC-07: in the append that needs it; stopped VMs keep their volume's room, expunged ones nothing."""

    async def body(here: Ground) -> None:
        uuid, api = await tenant(here)
        admin = here.api
        fields: dict[str, Any] = here.fields(cpu_num=2)
        plan = (await api.call("CreateVmInstance", {"zcloud-validate-only": "true"}, **fields)).plan
        planned = {q.name: (q.used, q.wanted, q.total) for q in plan.quotas}
        running = {"vm.num": 1, "vm.totalNum": 1, "vm.cpuNum": 2, "vm.memorySize": GIB, "volume.capacity": DISK_BYTES}
        assert planned == {name: (0, wanted, DEFAULTS[name]) for name, wanted in running.items()}
        assert await usage(api) == {}

        vm = (await api.done("CreateVmInstance", **fields)).inventory.uuid
        assert await usage(api) == running == await recount(here, uuid)
        await api.done("StopVmInstance", uuid=vm)
        stopped = {"vm.totalNum": 1, "volume.capacity": DISK_BYTES}
        assert await usage(api) == stopped == await recount(here, uuid)

        for name, value, wanted in (("vm.cpuNum", 3, 2), ("vm.memorySize", GIB - 1, GIB), ("volume.capacity", 1, GIB)):
            await admin.call("UpdateQuota", identity_uuid=uuid, name=name, value=value)
            cpus = 4 if name == "vm.cpuNum" else 1
            head = admin.node.cloud.log.head
            over = await refused(api.call("CreateVmInstance", **here.fields(cpu_num=cpus)))
            assert (over.code, over.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
            used = stopped.get(name, 0)
            wanted = cpus if name == "vm.cpuNum" else wanted
            told = {"quota": name, "used": str(used), "limit": str(value), "wanted": str(wanted)}
            assert over.facts == told
            violation = over.details["QuotaFailure"].violations[0]
            assert (violation.subject, violation.quota_metric, violation.quota_value) == (
                f"account/{uuid}",
                name,
                value,
            )
            assert admin.node.cloud.log.head == head
            await admin.call("UpdateQuota", identity_uuid=uuid, name=name, value=DEFAULTS[name])

        await admin.call("UpdateQuota", identity_uuid=uuid, name="vm.num", value=0)
        assert (await refused(api.call("StartVmInstance", uuid=vm))).facts["quota"] == "vm.num"
        assert await here.state(vm) == "STOPPED"
        await admin.done("StartVmInstance", uuid=vm)  # the admin may do everything, and it is counted
        assert await usage(api) == running
        await admin.call("UpdateQuota", identity_uuid=uuid, name="vm.totalNum", value=1)
        just = here.fields(strategy="just_create")
        assert (await refused(api.call("CreateVmInstance", **just))).facts["quota"] == "vm.totalNum"

        await api.done("DeleteVmInstance", uuid=vm)
        assert await usage(api) == {"volume.capacity": DISK_BYTES} == await recount(here, uuid)
        await api.call("CreateVmInstance", **just)
        assert (await refused(api.call("RecoverVmInstance", uuid=vm))).facts["quota"] == "vm.totalNum"
        await api.done("ExpungeVmInstance", uuid=vm)
        assert await usage(api) == stopped == await recount(here, uuid)
        assert await usage(admin) == await recount(here, ADMIN_UUID)
        assert (await usage(admin))["image.size"] == IMAGE_BYTES

    on_ground(tmp_path / "data", body)


def test_calls_at_the_same_time_share_what_is_left(tmp_path: Path) -> None:
    """ACC-06: as many as there is room for, whoever comes first; a VM that could not be made gives all back."""

    async def body(here: Ground) -> None:
        uuid, api = await tenant(here)
        await here.api.call("UpdateQuota", identity_uuid=uuid, name="vm.totalNum", value=7)
        just = here.fields(strategy="just_create")
        calls = [api.call("CreateVmInstance", **just) for _ in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        errors = [a for a in answers if isinstance(a, BaseException)]
        assert (len(answers) - len(errors), {str(getattr(e, "reason", e)) for e in errors}) == (7, {"QUOTA_EXCEEDED"})
        assert (await usage(api))["vm.totalNum"] == 7
        await here.api.call("UpdateQuota", identity_uuid=uuid, name="vm.totalNum", value=8)
        here.order("StartVmTask")
        made = await api.call("CreateVmInstance", **here.fields())
        await api.wait(made.job_uuid)
        assert await usage(api) == await recount(here, uuid)

    on_ground(tmp_path / "data", body)


def test_images_count_before_their_size_is_known(tmp_path: Path) -> None:
    """ACC-06: one more needs room for at least something."""

    async def body(here: Ground) -> None:
        uuid, api = await tenant(here)

        async def measured(unit: Unit) -> None:
            storage = await unit.get(SftpBackupStorage, here.backup)
            (await unit.companion(BackupStorageCapacity, storage)).measured(100 * GIB, 100 * GIB)

        await here.api.node.cloud.decide(Context(actor=SYSTEM), measured)
        image = {"name": "i", "url": "http://images.invalid/x.qcow2", "format": "qcow2"}
        await here.api.call("UpdateQuota", identity_uuid=uuid, name="image.size", value=0)
        over = await refused(api.call("AddImage", **image))
        assert (over.reason, over.facts["quota"]) == ("QUOTA_EXCEEDED", "image.size")
        await here.api.call("UpdateQuota", identity_uuid=uuid, name="image.size", value=1)
        await here.api.call("UpdateQuota", identity_uuid=uuid, name="image.num", value=0)
        assert (await refused(api.call("AddImage", **image))).facts["quota"] == "image.num"

    on_ground(tmp_path / "data", body)


def test_accounts_from_before_quotas_are_counted_once(tmp_path: Path) -> None:
    """ACC-07: what was there when quotas came is in the usage."""

    async def body(here: Ground) -> None:
        uuid, api = await tenant(here)
        await api.call("CreateVmInstance", **here.fields(strategy="just_create"))
        cloud = here.api.node.cloud
        stream = AccountUsage.stream_of(uuid)
        counted_before = await usage(api)
        unit = Unit(cloud, Context(actor=SYSTEM), cloud.clock.now())
        fresh = AccountUsage.blank(uuid)
        fresh.__dict__["now"] = unit.now
        unit.seen[stream] = (fresh, 0)  # as if none had ever been recorded
        await open_anew(unit, uuid)
        assert {name: n for name, n in fresh.used.items() if n} == counted_before
        again = Unit(cloud, Context(actor=SYSTEM), cloud.clock.now())
        await open_anew(again, uuid)
        assert not list(again.changed())

    on_ground(tmp_path / "data", body)


def test_what_got_a_quota_later_is_counted_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ACC-06, ACC-07: a version that knows one more counts what is there; webhooks, each of which reads the log."""
    hook = {"name": "hook", "url": "http://hooks.invalid/", "secret": "0" * 32}

    async def before() -> None:
        async with running_node(tmp_path / "data") as api:
            _, alice = await api.account("alice", "password")
            for _ in range(2):
                await alice.call("CreateWebhook", **hook)
            assert await usage(alice) == {}

    async def after() -> None:
        async with running_node(tmp_path / "data") as api:
            alice = await api.logged_in("alice", "password")
            assert await usage(alice) == {"webhook.num": 2}
            (account,) = (await alice.call("QueryAccount")).inventories
            await api.call("UpdateQuota", identity_uuid=account.uuid, name="webhook.num", value=3)
            third = (await alice.call("CreateWebhook", **hook)).inventory.uuid
            over = await refused(alice.call("CreateWebhook", **hook))
            assert (over.code, over.facts["quota"]) == ("RESOURCE_EXHAUSTED", "webhook.num")
            for found in (await alice.call("QueryWebhook")).inventories:
                await alice.done("DeleteWebhook", uuid=found.uuid)
            assert third
            assert await usage(alice) == {}

    with monkeypatch.context() as unknown:
        unknown.delitem(KNOWN, "webhook.num")
        unknown.delitem(MEASURED, "webhook")
        asyncio.run(before())
    asyncio.run(after())
