"""Tags over a socket: on what, by whom, in filters, and off with what they were on (TAG-01..06, BS-21, ARC-11)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from projections.query.zstack import translate
from tests.api.compute.ground import Ground, on_ground
from tests.support.cloud import Api, ApiError, running_node


async def names(api: Api, rpc: str, filter: str) -> list[str]:
    found = await api.call(rpc, filter=filter, order_by="name")
    return [inventory.name for inventory in found.inventories]


async def zones(api: Api, *named: str) -> list[str]:
    return [(await api.call("CreateZone", name=name)).inventory.uuid for name in named]


async def refusal(api: Api, rpc: str, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        await api.call(rpc, **fields)
    return error.value


def test_user_tags_in_filters_of_every_kind(tmp_path: Path) -> None:
    """TAG-06, BS-21, ARC-11: as in the seed, by ZStack's name of the type, and found by it."""

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            one, two, three = await zones(api, "one", "two", "three")
            made = await api.call("CreateUserTag", tag="lab1", resource_type="ZoneVO", resource_uuid=one)
            assert (made.inventory.tag, made.inventory.resource_kind) == ("lab1", "zone")
            assert (made.inventory.resource_type, made.inventory.type) == ("ZoneVO", 1)
            head = api.node.cloud.log.head
            again = await api.call("CreateUserTag", tag="lab1", resource_type="Zone", resource_uuid=one)
            assert (again.inventory.uuid, api.node.cloud.log.head) == (made.inventory.uuid, head)
            await api.call("CreateUserTag", tag="retired", resource_type="zone", resource_uuid=one)
            await api.call("CreateUserTag", tag="retired", resource_type="ZoneVO", resource_uuid=two)
            await api.call("CreateCluster", name="rack", zone_uuid=two, hypervisor_type="Simulator")

            assert await names(api, "QueryZone", 'tag = "retired"') == ["one", "two"]
            assert await names(api, "QueryZone", 'NOT tag = "retired"') == ["three"]
            assert await names(api, "QueryZone", 'tag : "retir" AND tag = lab*') == ["one"]
            assert await names(api, "QueryZone", "tag = null") == ["three"]
            assert await names(api, "QueryZone", "tag:*") == ["one", "two"]
            assert await names(api, "QueryZone", "user_tags.type = Admin AND name = two") == ["two"]
            assert await names(api, "QueryCluster", "zone.tag = retired") == ["rack"]
            assert await names(api, "QueryCluster", "zone.tag = lab1") == []
            assert await names(api, "QueryZone", translate(["__userTag__?=lab1,other"])) == ["one"]
            assert await names(api, "QueryZone", translate(["__userTag__!=lab1"])) == ["three", "two"]
            assert await names(api, "QueryZone", translate(["__userTag__!~=%a%", "name!=x"])) == ["three", "two"]
            groups = (await api.call("QueryUserTag", group_by="tag")).groups
            assert {group.key["tag"]: group.count for group in groups} == {"lab1": 1, "retired": 2}
            assert (await refusal(api, "QueryZone", filter="tag.color = x")).fields == ["filter"]

            kinds = (await api.call("DescribeQuery", kind="Zone")).kinds
            tag = next(field for field in kinds[0].fields if field.name == "tag")
            assert (tag.type, tag.repeated, tag.single) == ("text", True, False)
            assert any(relation.name == "user_tags" for relation in kinds[0].relations)

            gone = await api.call("DeleteTag", uuid=made.inventory.uuid)
            assert gone.user_tag.tag == "lab1"
            assert await names(api, "QueryZone", "tag = lab1") == []
            before = api.position
            await api.done("DeleteZone", uuid=one)
            left = (await api.call("QueryUserTag")).inventories
            assert [(tag.tag, tag.resource_uuid) for tag in left] == [("retired", two)]
            then = await api.call("QueryZone", filter="tag = retired", at_position=before)
            assert {zone.name for zone in then.inventories} == {"one", "two"}
            assert (await refusal(api, "GetUserTag", uuid=made.inventory.uuid)).code == "NOT_FOUND"
            assert len({one, two, three}) == 3

    asyncio.run(main())


def test_tags_are_coloured_and_go_on_what_is_their_owners(tmp_path: Path) -> None:
    """TAG-01..04: the admin's on everything, an account's on its own; the admin takes off any."""

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            (zone,) = await zones(api, "zone")
            _, alice = await api.account("alice")
            _, bob = await api.account("bob")
            admins = (await api.call("CreateTag", name="gold", color="#FFD700")).inventory
            assert (admins.type, admins.value, admins.color) == (1, "gold", "#ffd700")
            mine = (await alice.call("CreateTag", name="mine", value="web")).inventory
            assert (mine.type, mine.value, mine.color) == (2, "web", "#1890ff")
            sched = await alice.call("QueryTag")
            assert [tag.name for tag in sched.inventories] == ["mine"]

            for color in ("gold", "#12345", "#gggggg"):
                assert (await refusal(api, "UpdateTag", uuid=admins.uuid, color=color)).fields == ["color"]
            assert (await alice.call("GetTag", uuid=mine.uuid)).inventory == mine
            renamed = await api.call("UpdateTag", uuid=admins.uuid, name="golden", color="#000000")
            assert (renamed.inventory.name, renamed.inventory.value, renamed.inventory.color) == (
                "golden",
                "gold",
                "#000000",
            )

            on = await api.call("AttachTagToResources", tag_uuid=admins.uuid, resource_uuids=[zone, zone])
            assert [(tag.tag, tag.pattern_tag_uuid, tag.type) for tag in on.inventories] == [("gold", admins.uuid, 1)]
            assert await names(api, "QueryZone", "tag = gold") == ["zone"]
            assert await names(api, "QueryUserTag", "pattern_tag.color = #000000") == ["gold"]

            account = (await alice.call("GetAccount", uuid=mine.account_uuid)).inventory.uuid
            await alice.call("AttachTagToResources", tag_uuid=mine.uuid, resource_uuids=[account])
            assert await names(alice, "QueryAccount", "tag = web") == ["alice"]
            assert await names(api, "QueryAccount", "tag = web") == ["alice"]
            foreign = await refusal(api, "AttachTagToResources", tag_uuid=mine.uuid, resource_uuids=[zone])
            assert (foreign.code, foreign.reason) == ("FAILED_PRECONDITION", "NOT_ALLOWED")
            unseen = await refusal(bob, "AttachTagToResources", tag_uuid=mine.uuid, resource_uuids=[account])
            assert unseen.code == "NOT_FOUND"
            hers = await refusal(bob, "CreateUserTag", tag="x", resource_type="account", resource_uuid=account)
            assert hers.code == "NOT_FOUND"
            assert (await bob.call("QueryUserTag")).inventories == []

            off = await api.call("DetachTagFromResources", tag_uuid=mine.uuid, resource_uuids=[account])
            assert [tag.tag for tag in off.inventories] == ["web"]
            assert await names(api, "QueryAccount", "tag = web") == []
            await api.done("DeleteTag", uuid=admins.uuid)
            assert await names(api, "QueryZone", "tag = gold") == []
            assert (await api.call("QueryUserTag")).inventories == []
            again = await refusal(api, "AttachTagToResources", tag_uuid=admins.uuid, resource_uuids=[zone])
            assert again.code == "NOT_FOUND"

    asyncio.run(main())


def test_what_is_refused(tmp_path: Path) -> None:
    """TAG-06: a wrong type is named with the nearest, and a resource must be of the type that is named."""

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            (zone,) = await zones(api, "zone")
            wrong = await refusal(api, "CreateUserTag", tag="x", resource_type="ZonesVO", resource_uuid=zone)
            assert (wrong.code, wrong.fields) == ("INVALID_ARGUMENT", ["resource_type"])
            assert "ZoneVO" in wrong.message
            other = await refusal(api, "CreateUserTag", tag="x", resource_type="HostVO", resource_uuid=zone)
            assert other.code == "NOT_FOUND"
            tagged = (await api.call("CreateUserTag", tag="x", resource_type="ZoneVO", resource_uuid=zone)).inventory
            tag = (await api.call("CreateTag", name="t")).inventory
            for uuid in (tagged.uuid, tag.uuid, "0" * 32):
                on = await refusal(api, "AttachTagToResources", tag_uuid=tag.uuid, resource_uuids=[uuid])
                assert on.code == "NOT_FOUND"
            assert (await refusal(api, "DeleteTag", uuid=zone)).code == "NOT_FOUND"

    asyncio.run(main())


def test_a_backup_storage_is_tagged_as_in_the_seed(tmp_path: Path) -> None:
    """BS-21: CreateUserTag tag=lab1 resourceType=BackupStorageVO; found as what it is and as what that extends."""

    async def body(here: Ground) -> None:
        api = here.api
        made = await api.call("CreateUserTag", tag="lab1", resource_type="BackupStorageVO", resource_uuid=here.backup)
        assert (made.inventory.resource_kind, made.inventory.resource_uuid) == ("backup_storage", here.backup)
        for rpc in ("QueryBackupStorage", "QuerySftpBackupStorage"):
            assert await names(api, rpc, "tag = lab1") == ["sftp"]
            assert await names(api, rpc, "NOT tag = lab1") == []
        assert await names(api, "QueryImage", "backup_storages.tag = lab1") == ["linux"]
        wrong = await refusal(
            api, "CreateUserTag", tag="x", resource_type="SftpBackupStorageVO", resource_uuid=here.storage
        )
        assert wrong.code == "NOT_FOUND"

    on_ground(tmp_path / "data", body)
