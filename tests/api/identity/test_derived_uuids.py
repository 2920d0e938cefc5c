"""No account can choose the uuid under which the cloud will look for something of its own (ACC-01, ACC-06, TAG-01)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import Ground, on_ground, refused
from tests.api.identity.test_quotas import tenant
from tests.support.cloud import Api, ApiError, running_node
from zcloud.domain.identity import session
from zcloud.domain.identity.account import ADMIN_UUID, LoginName
from zcloud.domain.identity.quota import Quota
from zcloud.domain.infrastructure import enroll_token
from zcloud.domain.infrastructure.host_debt import HostDebt, OwedItem, debt_uuids
from zcloud.domain.operations.resource_config import ResourceConfig
from zcloud.domain.operations.scheduler_occurrence import SchedulerOccurrence, Trigger
from zcloud.domain.operations.settings import KNOWN, known
from zcloud.domain.operations.user_tag import UserTag
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.image_cache import cache_uuids
from zcloud.kernel import ids
from zcloud.kernel.context import Context
from zcloud.kernel.ids import Derived, TimedIds, is_derived
from zcloud.kernel.unit import Unit
from zcloud.processes.infrastructure.host_debt import owe

NEW = "b" * 32
POLICY = {"category": "vm", "name": "deletionPolicy"}


async def blocks(api: Api, uuid: str) -> ApiError | None:
    """Whether, and how, an account is refused a tag with this uuid."""
    try:
        await api.call("CreateTag", name=uuid, resource_uuid=uuid)
    except ApiError as error:
        return error
    return None


def all_derived(here: Ground, zone: Any) -> dict[str, Derived]:
    """Where the cloud will look for what is not there yet, of each kind."""
    host, job, scheduler = here.host.host_uuid, "c" * 32, "d" * 32
    return {
        "login_name": LoginName.uuids_of("carol"),
        "quota": Quota.uuids_of(NEW, "vm.num"),
        "user_tag": UserTag.uuids_of(ADMIN_UUID, "gold", zone),
        "resource_config": ResourceConfig.uuids_of(*POLICY.values(), zone.uuid),
        "global_config": known(*POLICY.values()).uuids,
        "host_debt": debt_uuids(host),
        "image_cache": cache_uuids(here.storage, host, f"{here.image}-1"),
        "session": session.uuids_of("a token"),
        "enroll_token": enroll_token.uuids_of("a token"),
        "scheduler_occurrence": SchedulerOccurrence.uuids_of(scheduler, job, 1, Trigger.SCHEDULE),
    }


def test_nobody_is_there_before_the_cloud(tmp_path: Path) -> None:
    """Neither where it looks now nor where it looked before can another account stand in anybody's way."""

    async def body(here: Ground) -> None:
        api = here.api
        _, mallory = await api.account("mallory")

        zone = await api.node.cloud.load(here.zone)
        derived = all_derived(here, zone)
        for kind, uuids in derived.items():
            error = await blocks(mallory, uuids.uuid)
            assert error is not None, kind
            assert (error.code, error.reason, error.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", ["resource_uuid"])
            assert uuids.uuid in error.message
            # Reproducible uuids of version 5, as people make them, are anybody's.
            assert await blocks(mallory, uuids.before) is None, kind
        for older in (False, True):
            api.node.cloud.older = older
            account = (await api.call("CreateAccount", name="carol", password="p", resource_uuid=NEW)).inventory
            carol = await api.logged_in("carol", "p")
            again = await refused(api.call("CreateAccount", name="Carol", password="p"))
            assert (again.code, again.reason) == ("ALREADY_EXISTS", "NAME_TAKEN")
            await api.call("UpdateQuota", identity_uuid=NEW, name="vm.num", value=3)
            used = (await carol.call("GetAccountQuotaUsage")).usages
            assert next(one.total for one in used if one.name == "vm.num") == 3
            marks = [
                (await api.call("CreateUserTag", resource_type="ZoneVO", resource_uuid=here.zone, tag="gold")).inventory
                for _ in range(2)
            ]
            assert marks[0].uuid == marks[1].uuid == derived["user_tag"].uuid
            for value in ("Direct", "Never"):
                await api.call("UpdateResourceConfig", **POLICY, resource_uuid=here.zone, value=value)
            assert (await api.call("GetResourceConfig", **POLICY, resource_uuid=here.zone)).value == "Never"

            async def left(unit: Unit) -> None:
                await owe(unit, here.host.host_uuid, OwedItem("l2_network", here.l2))

            for _ in range(2):
                await api.node.cloud.decide(Context(), left)
            (debt,) = (await api.call("QueryHostDebt")).inventories
            assert (debt.uuid, len(debt.items)) == (derived["host_debt"].uuid, 1)

            await api.call("DeleteResourceConfig", **POLICY, resource_uuid=here.zone)
            await api.call("DeleteTag", uuid=marks[0].uuid)
            await api.call("WriteOffHostDebt", uuid=debt.uuid)
            await api.done("DeleteAccount", uuid=account.uuid)

    on_ground(tmp_path, body)


def test_what_has_a_stream_is_where_nobody_else_can_be(tmp_path: Path) -> None:
    """Whatever begins in the log has a uuid of chance, or one that no caller may choose; the admin is there first."""

    async def body(here: Ground) -> None:
        api = here.api
        await here.create()
        _, alice = await api.account("alice")
        await alice.call("CreateTag", name="blue")
        await api.call("CreateUserTag", resource_type="ZoneVO", resource_uuid=here.zone, tag="gold")
        await api.call("UpdateResourceConfig", **POLICY, resource_uuid=here.zone, value="Never")
        begun = [record for record in api.node.recorder.read_all(0, 100_000) if record.topic.endswith(".Created")]
        derived = {record.topic.partition(".")[0] for record in begun if is_derived(record.resource_uuid)}
        assert derived >= {"login_name", "session", "quota", "user_tag", "resource_config", "global_config"}
        assert derived >= {"image_cache", "enroll_token"}
        others = {record.resource_uuid for record in begun if not is_derived(record.resource_uuid)}
        assert {uuid for uuid in others if uuid[12] != "7"} == {ADMIN_UUID}
        assert not any(is_derived(TimedIds().new()) for _ in range(1000))

    on_ground(tmp_path, body)


@pytest.fixture
def of_version_5(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As before: what is derived has the version that callers may choose, until it is undone."""
    with monkeypatch.context() as before:
        before.setattr(ids, "Derived", lambda uuid, before: Derived(before, before))
        _forget()
        yield before
    _forget()


def _forget() -> None:
    ids.derived.cache_clear()
    session.uuids_of.cache_clear()


def test_a_log_of_before_goes_on(tmp_path: Path, of_version_5: pytest.MonkeyPatch) -> None:
    """What was derived then is found where it is; what is new is made where nobody can block it."""
    token = ""

    async def before() -> str:
        async with running_node(tmp_path / "data") as api:
            uuid, alice = await api.account("alice")
            zone = (await api.call("CreateZone", name="z")).inventory.uuid
            await tag(api, zone, "gold")
            await api.call("UpdateResourceConfig", **POLICY, resource_uuid=zone, value="Never")
            await api.call("UpdateQuota", identity_uuid=uuid, name="vm.num", value=3)
            await api.call("UpdateGlobalConfig", category="image", name="expungePeriod", value="60")
            await api.node.cloud.decide(Context(), lambda unit: _debt(unit, zone))
            begun = {record.resource_uuid[12] for record in api.node.recorder.read_all(0, 100_000)}
            assert begun == {"5", "7"}
            return alice.token

    async def tag(api: Api, zone: str, text: str) -> str:
        marked = await api.call("CreateUserTag", resource_type="ZoneVO", resource_uuid=zone, tag=text)
        return str(marked.inventory.uuid)

    async def after() -> None:
        async with running_node(tmp_path / "data") as api:
            assert api.node.cloud.older
            # Who was logged in still is, also to renew and to leave; who logs in gets a session of today.
            alice = Api(api.node, api.channel, token)
            await alice.call("RenewSession")
            (account,) = (await alice.call("QueryAccount")).inventories
            await api.logged_in("alice", "a password of its own")
            sessions = (await api.call("QuerySession")).inventories
            assert {one.uuid[12] for one in sessions} == {"5", "8"}
            taken = await refused(api.call("CreateAccount", name="Alice", password="p"))
            assert (taken.code, taken.reason) == ("ALREADY_EXISTS", "NAME_TAKEN")
            # Settings, quotas and marks are those of before, and are none of them there twice.
            zone = (await api.call("QueryZone")).inventories[0].uuid
            settings = (await api.call("QueryGlobalConfig", count=True)).total
            assert settings == len({one.uuids for one in KNOWN})
            assert {c.uuid[12] for c in (await api.call("QueryGlobalConfig", page_size=1000)).inventories} == {"5"}
            changed = await api.call("UpdateGlobalConfig", category="image", name="expungePeriod")
            assert changed.inventory.value == "259200"
            quota = (await api.call("UpdateQuota", identity_uuid=account.uuid, name="vm.num", value=4)).inventory
            assert (quota.uuid[12], quota.version) == ("5", 3)
            (gold,) = (await api.call("QueryUserTag")).inventories
            assert await tag(api, zone, "gold") == gold.uuid != await tag(api, zone, "new")
            config = (await api.call("UpdateResourceConfig", **POLICY, resource_uuid=zone, value="Direct")).inventory
            assert (config.uuid[12], config.version) == ("5", 2)
            await api.node.cloud.decide(Context(), lambda unit: _debt(unit, zone))
            (debt,) = (await api.call("QueryHostDebt")).inventories
            assert debt.uuid[12] == "5"
            # What goes and comes again comes where it is safe.
            await api.call("DeleteResourceConfig", **POLICY, resource_uuid=zone)
            again = (await api.call("UpdateResourceConfig", **POLICY, resource_uuid=zone, value="Never")).inventory
            assert is_derived(again.uuid)
            assert (await api.call("GetResourceConfig", **POLICY, resource_uuid=zone)).value == "Never"
            await api.call("DeleteTag", uuid=gold.uuid)
            assert is_derived(await tag(api, zone, "gold"))
            await alice.call("UpdateAccount", uuid=account.uuid, name="alison")
            await alice.call("UpdateAccount", uuid=account.uuid, name="alice")
            await alice.call("LogOut")
            assert (await refused(alice.call("QueryAccount"))).code == "UNAUTHENTICATED"
            await api.logged_in("alice", "a password of its own")
            await api.done("DeleteAccount", uuid=account.uuid)
            await api.account("alice")
            await api.call("UpdateAccount", uuid=ADMIN_UUID, name="root")
            assert await blocks(api, LoginName.uuids_of("admin").before) is None
            await api.call("UpdateAccount", uuid=ADMIN_UUID, name="admin")
        async with running_node(tmp_path / "data") as api:  # and so it stays
            assert api.node.cloud.older
            assert (await api.call("QueryGlobalConfig", count=True)).total == settings
            assert (await api.call("GetResourceConfig", **POLICY, resource_uuid=zone)).value == "Never"

    token = asyncio.run(before())
    of_version_5.undo()
    _forget()
    asyncio.run(after())


async def _debt(unit: Unit, host_uuid: str) -> None:
    debt = await unit.find(HostDebt, *debt_uuids(host_uuid))
    if debt is None:
        debt = await unit.new(HostDebt, debt_uuids(host_uuid).uuid, account_uuid=ADMIN_UUID)
        debt.create(name="h", zone_uuid="", host_uuid=host_uuid, management_ip="203.0.113.5")
    debt.owe(OwedItem("l2_network", "e" * 32))


def test_what_another_account_had_is_not_to_be_had(tmp_path: Path) -> None:
    """A VM is made anew from the image that it names: nobody else may put one there when that is gone (VM-26)."""

    async def body(here: Ground) -> None:
        admin = here.api
        alice_uuid, alice = await tenant(here, "alice")
        _, mallory = await tenant(here, "mallory")
        vm = (await alice.done("CreateVmInstance", **here.fields())).inventory
        assert vm.image_uuid == here.image

        async def gone(unit: Unit) -> None:
            (await unit.get(Image, here.image)).remove()

        await admin.node.cloud.decide(Context(), gone)
        other = {"url": "upload://root.qcow2", "size": 1 << 20, "format": "qcow2", "resource_uuid": here.image}
        for rpc, fields in (("AddImage", other), ("CreateTag", {"resource_uuid": here.image})):
            taken = await refused(mallory.call(rpc, name="mine", **fields))
            assert (taken.code, taken.reason) == ("ALREADY_EXISTS", "RESOURCE_EXISTS")
            assert here.image in taken.message

        # One's own is free again, the admin's and one's own, whatever it was; and what was handed over is the other's.
        own = "a" * 32
        for name in ("first", "second"):
            made = (await alice.call("CreateTag", name=name, resource_uuid=own)).inventory
            assert made.account_uuid == alice_uuid
            await alice.done("DeleteTag", uuid=own)
        assert (await refused(mallory.call("CreateTag", name="x", resource_uuid=own))).code == "ALREADY_EXISTS"
        await admin.call("CreateZone", name="z", resource_uuid=own)
        await admin.done("DeleteZone", uuid=own)
        assert (await refused(alice.call("CreateTag", name="x", resource_uuid=own))).code == "ALREADY_EXISTS"

    on_ground(tmp_path, body)
