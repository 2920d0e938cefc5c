"""Who may: every RPC as nobody, a normal account and the admin, on what is own, foreign and absent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from agents.node.private_sshd import PrivateSshd
from tests.api.populated import Populated, populated
from tests.api.requests import ABSENT, good_message, put, rules
from tests.support.cloud import Api, ApiError
from tests.support.sshd import sshd
from zcloud.api import position
from zcloud.api.operations import event
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.kernel.ids import is_derived
from zcloud.v1 import options_pb2 as o

__all__ = ["sshd"]
pytestmark = pytest.mark.real
RPCS = [rpc for name, rpc in sorted(rpcs().items()) if rpc.access != o.ACCESS_AGENT and name != "Enroll"]
# Kinds that the owner of a VM has, or that are shared with it; and parts of these.
OWNED = (
    "account",
    "disk_offering",
    "image",
    "instance_offering",
    "ip_range",
    "job",
    "l3_network",
    "quota",
    "scheduler",
    "scheduler_job",
    "scheduler_occurrence",
    "session",
    "tag",
    "user_tag",
    "vm_instance",
    "volume",
    "volume_snapshot",
    "volume_snapshot_group",
    "volume_snapshot_tree",
    "webhook",
)
# What ends the session of the caller, or shows nothing of others.
OWN_SESSION = ("LogOut", "RenewSession", "LogInByAccount")
# Whoever shares names accounts that it can't see; a uuid that was told by its owner tells nothing new (ACC-09).
NAMEABLE = ("ShareResource", "account_uuids")


def in_cloud(directory: Path, sshd: PrivateSshd, body: Callable[[Populated], Awaitable[None]]) -> None:
    async def go() -> None:
        async with populated(directory, sshd) as cloud:
            await body(cloud)

    asyncio.run(go())


async def outcome(api: Api, rpc: Rpc, request: Message | bytes, meta: dict[str, str] | None = None) -> ApiError | None:
    """The refusal, None when there was none."""
    try:
        if rpc.streams:
            async with contextlib.aclosing(api.stream_of(rpc.name, request)) as answers:
                await anext(answers, None)
        else:
            await api.send(rpc.name, request, meta or {})
    except ApiError as error:
        return error
    return None


def targets(rpc: Rpc, cloud: Populated) -> Iterator[tuple[FieldDescriptor, list[str]]]:
    """Fields that name resources, each with uuids of what belongs to others than the stranger."""
    for field in rpc.request.DESCRIPTOR.fields:
        if field.type != FieldDescriptor.TYPE_STRING or rules(field).format != o.FORMAT_UUID:
            continue
        kind = rules(field).references or (rpc.kind if field.name == "uuid" else "")
        if (rpc.name, field.name) == NAMEABLE:
            continue
        if kind:
            yield field, [cloud.uuids[kind]]
        elif field.name in ("resource_uuid", "resource_uuids") and not rpc.name.startswith(("Create", "Add", "Watch")):
            # To choose what the cloud derives is wrong whatever is there.
            chosen = field.name == "resource_uuid" and not rules(field).required
            yield field, sorted(uuid for uuid in set(cloud.uuids.values()) if not (chosen and is_derived(uuid)))


def told(error: ApiError, uuid: str) -> str:
    """All that the caller learns, but for the uuid, which it knew."""
    return error.told.replace(uuid, "UUID").replace(ABSENT, "UUID")


def events(cloud: Populated) -> list[Any]:
    return [r for r in cloud.admin.node.recorder.read_all(0, 100_000) if r.kind not in ("session",)]


def test_the_matrix(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(cloud: Populated) -> None:
        open_to_all = [r for r in RPCS if r.access == o.ACCESS_ACCOUNT]
        missing = (
            {rules(f).references for r in open_to_all for f in r.request.DESCRIPTOR.fields} - set(cloud.uuids) - {""}
        )
        assert not missing, f"populate the cloud with {missing} as well"
        before = len(events(cloud))
        for rpc in RPCS:
            await nobody(cloud, rpc)
            await those_without_the_right(cloud, rpc)
            await a_stranger(cloud, rpc)
        assert [r.topic for r in events(cloud)[before:]] == []

    in_cloud(tmp_path, sshd, body)


async def nobody(cloud: Populated, rpc: Rpc) -> None:
    if rpc.access == o.ACCESS_PUBLIC:
        return
    for request in (good_message(rpc.request, cloud.uuids), rpc.request(), b"\xff\xff"):
        error = await outcome(cloud.anonymous, rpc, request)
        assert error is not None, rpc.name
        assert (error.code, error.reason) == ("UNAUTHENTICATED", "NOT_LOGGED_IN"), f"{rpc.name}: {error}"
    forged = Api(cloud.admin.node, cloud.admin.channel, cloud.owner.token[:-1] + "x")
    error = await outcome(forged, rpc, rpc.request())
    assert error is not None
    assert error.code == "UNAUTHENTICATED"


async def those_without_the_right(cloud: Populated, rpc: Rpc) -> None:
    """They are told so before anything is looked at."""
    if rpc.access != o.ACCESS_ADMIN:
        return
    for api in (cloud.owner, cloud.stranger):
        answers = set()
        for known in (cloud.uuids, {}):
            error = await outcome(api, rpc, good_message(rpc.request, known))
            assert error is not None, rpc.name
            answers.add(error.told)
            assert (error.code, error.reason) == ("PERMISSION_DENIED", "NOT_ALLOWED"), f"{rpc.name}: {error}"
            assert error.facts["permission"] == rpc.permission
        answers.add((await outcome(api, rpc, b"\xff\xff") or pytest.fail(rpc.name)).told)
        assert len(answers) == 1, rpc.name


async def a_stranger(cloud: Populated, rpc: Rpc) -> None:
    """What is foreign is refused with the very words for what is absent."""
    if rpc.access != o.ACCESS_ACCOUNT or rpc.name in OWN_SESSION:
        return
    # What can't be previewed says so, whatever it is about.
    only = [] if rpc.takes_stream else [{"zcloud-validate-only": "true"}]
    for field, foreign in targets(rpc, cloud):
        for meta in ({}, *only, {"zcloud-if-version": "7"}):
            request = good_message(rpc.request, {})
            put(request, field, ABSENT)
            absent = await outcome(cloud.stranger, rpc, request, meta)
            assert absent is not None, f"{rpc.name} {field.name}"
            assert absent.code == "NOT_FOUND", f"{rpc.name} {field.name}: {absent}"
            for uuid in foreign:
                put(request, field, uuid)
                error = await outcome(cloud.stranger, rpc, request, meta)
                assert error is not None, f"{rpc.name} {field.name} {uuid}"
                assert told(error, uuid) == told(absent, ABSENT), f"{rpc.name} {field.name}"


def test_each_sees_its_own_and_the_admin_all(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(cloud: Populated) -> None:
        for rpc in RPCS:
            if not (rpc.name.startswith(("Get", "Query")) and rpc.kind):
                continue
            uuid = cloud.uuids.get(rpc.kind)
            if uuid is None:
                continue
            if rpc.name.startswith("Get"):
                assert (await cloud.admin.call(rpc.name, uuid=uuid)).inventory.uuid == uuid
                if rpc.access == o.ACCESS_ACCOUNT and rpc.kind in OWNED:
                    assert (await cloud.owner.call(rpc.name, uuid=uuid)).inventory.uuid == uuid
                continue
            seen = {i.uuid for i in (await cloud.admin.call(rpc.name, page_size=1000)).inventories}
            assert uuid in seen
            if rpc.access == o.ACCESS_ACCOUNT:
                owned = {i.uuid for i in (await cloud.owner.call(rpc.name)).inventories}
                assert (uuid in owned) is (rpc.kind in OWNED), rpc.name
                answer = await cloud.stranger.call(rpc.name, count=True)
                strange = {i.uuid for i in answer.inventories}
                assert not strange & owned, rpc.name
                assert answer.total == len(strange)
                assert strange <= {cloud.stranger_uuid} or rpc.kind in ("session", "quota")

    in_cloud(tmp_path, sshd, body)


def test_relations_tell_nothing_of_what_one_may_not_see(tmp_path: Path, sshd: PrivateSshd) -> None:
    """A VM of one's own that rests on what is no longer shared: no filter and no order can be asked about that."""

    async def body(cloud: Populated) -> None:
        u = cloud.uuids
        lent = [u["image"], u["l3_network"], u["instance_offering"]]
        await cloud.admin.call("ShareResource", resource_uuids=lent, account_uuids=[cloud.stranger_uuid])
        vm = (await cloud.create_vm(cloud.stranger, "vm of the stranger")).inventory.uuid
        ask = {"filter": 'image.name = "image of the owner"'}
        assert [i.uuid for i in (await cloud.stranger.call("QueryVmInstance", **ask)).inventories] == [vm]
        await cloud.admin.call("RevokeResourceSharing", resource_uuids=lent, account_uuids=[cloud.stranger_uuid])
        for text in (
            'image.name = "image of the owner"',
            'image.name : "owner"',
            'image.account.name = "owner"',
            'zone.name = "zone of sim"',
            'host.name = "host-1"',
            'image.vm_instances.name = "vm of the owner"',
            'instance_offering.name = "small"',
        ):
            for filter in (text, f"NOT {text}"):
                request = rpcs()["QueryVmInstance"].request(filter=filter)
                error = await outcome(cloud.stranger, rpcs()["QueryVmInstance"], request)
                if error is not None:
                    assert error.code == "INVALID_ARGUMENT", f"{filter}: {error}"
                elif filter == text:
                    assert not (await cloud.stranger.call("QueryVmInstance", filter=filter)).inventories, filter
        assert (await cloud.stranger.call("QueryVmInstance", count=True)).total == 1
        everyone = (await cloud.admin.call("QueryVmInstance", filter='image.name = "image of the owner"')).inventories
        assert len(everyone) == 2

    in_cloud(tmp_path, sshd, body)


def test_what_happens_to_others_is_not_watched(
    tmp_path: Path, sshd: PrivateSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event, "BOOKMARK_SECONDS", 0.05)

    async def watched(api: Api, head: str, **wanted: Any) -> list[Any]:
        found = []
        stream = api.stream("WatchEvents", **wanted)
        async with asyncio.timeout(60):
            async for answer in stream:
                if answer.HasField("event"):
                    found.append(answer.event)
                elif position.decode(answer.position, "") >= position.decode(head, ""):
                    break
        await stream.aclose()
        return found

    async def body(cloud: Populated) -> None:
        await cloud.admin.call("QueryZone")
        every = await watched(cloud.admin, cloud.admin.position)
        assert {e.resource_uuid for e in every} >= set(cloud.uuids.values()) - {cloud.uuids["session"]}
        seen = await watched(cloud.stranger, cloud.admin.position)
        assert seen
        assert {e.account_uuid for e in seen} == {cloud.stranger_uuid}
        foreign = sorted(cloud.uuids.values())
        assert await watched(cloud.stranger, cloud.admin.position, resource_uuids=foreign) == []
        owned = await watched(cloud.owner, cloud.admin.position)
        assert {e.account_uuid for e in owned} == {cloud.owner_uuid}
        assert {"vm_instance.Created", "image.Created", "job.Finished"} <= {e.type for e in owned}

    in_cloud(tmp_path, sshd, body)


def test_what_is_shared_may_be_used_and_not_changed(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(cloud: Populated) -> None:
        image = cloud.uuids["image"]
        await cloud.owner.call("ShareResource", resource_uuids=[image], to_public=True)
        assert (await cloud.stranger.call("GetImage", uuid=image)).inventory.uuid == image
        for rpc in RPCS:
            fields = {f.name: f for f in rpc.request.DESCRIPTOR.fields}
            field = fields.get("uuid")
            if rpc.reads or field is None or rules(field).references != "image" or rpc.access != o.ACCESS_ACCOUNT:
                continue
            error = await outcome(cloud.stranger, rpc, good_message(rpc.request, cloud.uuids))
            assert error is not None, rpc.name
            assert (error.code, error.reason) == ("PERMISSION_DENIED", "NOT_ALLOWED"), rpc.name
        for name in ("ShareResource", "RevokeResourceSharing"):
            error = await outcome(
                cloud.stranger, rpcs()[name], rpcs()[name].request(resource_uuids=[image], to_public=True)
            )
            assert error is not None
            assert error.code == "PERMISSION_DENIED"
        await cloud.owner.call("RevokeResourceSharing", resource_uuids=[image], to_public=True)
        with pytest.raises(ApiError) as refused:
            await cloud.stranger.call("GetImage", uuid=image)
        assert refused.value.code == "NOT_FOUND"

    in_cloud(tmp_path, sshd, body)


def test_a_session_that_is_over_is_nobodys(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(cloud: Populated) -> None:
        again = await cloud.anonymous.logged_in("stranger", "a password of its own")
        await again.call("LogOut")
        with pytest.raises(ApiError) as refused:
            await again.call("QueryImage")
        assert refused.value.code == "UNAUTHENTICATED"
        await cloud.stranger.call("QueryImage")  # its other session lives
        await cloud.admin.done("DeleteAccount", uuid=cloud.stranger_uuid)
        with pytest.raises(ApiError) as refused:
            await cloud.stranger.call("QueryImage")
        assert refused.value.code == "UNAUTHENTICATED"
        for name, password in (("stranger", "a password of its own"), ("nobody", "x"), ("owner", "wrong")):
            with pytest.raises(ApiError) as refused:
                await cloud.anonymous.logged_in(name, password)
            assert (refused.value.code, refused.value.reason) == ("UNAUTHENTICATED", "WRONG_CREDENTIALS")
            assert refused.value.message == "there is no such account, or the password is wrong"

    in_cloud(tmp_path, sshd, body)
