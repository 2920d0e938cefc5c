"""Who owns what: resources change hands with all that is a part of them; sharing and recall (ACC-08, ACC-09)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.api.compute.ground import DISK_BYTES, GIB, Ground, on_ground, refused
from tests.api.identity.test_quotas import recount, tenant, usage
from tests.api.operations.test_jobs import slow
from tests.support.cloud import Api, running_node
from zcloud.domain.identity.account import ADMIN_UUID


async def seen(api: Api, rpc: str, **fields: str) -> list[str]:
    return sorted(found.uuid for found in (await api.call(rpc, **fields)).inventories)


def test_a_vm_changes_hands_with_its_volume_its_quota_and_not_its_tenants_tags(tmp_path: Path) -> None:
    """ACC-08, TAG-05: at once; the old owner sees nothing of it any more, the new one all."""

    async def body(here: Ground) -> None:
        admin = here.api
        alice_uuid, alice = await tenant(here, "alice")
        bob_uuid, bob = await tenant(here, "bob")
        vm = (await alice.done("CreateVmInstance", **here.fields())).inventory
        await alice.call("CreateUserTag", tag="hers", resource_type="VmInstanceVO", resource_uuid=vm.uuid)
        await alice.call("CreateUserTag", tag="disk", resource_type="VolumeVO", resource_uuid=vm.root_volume_uuid)
        await admin.call("CreateUserTag", tag="gold", resource_type="VmInstanceVO", resource_uuid=vm.uuid)
        snapshot = await alice.done("CreateVolumeSnapshot", volume_uuid=vm.root_volume_uuid, name="before")
        tree = (await admin.call("QueryVolumeSnapshotTree")).inventories[0].uuid
        hand = {"account_uuid": bob_uuid, "resource_uuid": vm.uuid}
        assert (await refused(alice.call("ChangeResourceOwner", **hand))).code == "PERMISSION_DENIED"

        await admin.call("UpdateQuota", identity_uuid=bob_uuid, name="vm.num", value=0)
        over = await refused(admin.call("ChangeResourceOwner", **hand))
        assert (over.reason, over.facts["quota"]) == ("QUOTA_EXCEEDED", "vm.num")
        assert await seen(bob, "QueryVmInstance") == []
        await admin.call("UpdateQuota", identity_uuid=bob_uuid, name="vm.num", value=1)

        root = {"account_uuid": bob_uuid, "resource_uuid": vm.root_volume_uuid}
        alone = await refused(admin.call("ChangeResourceOwner", **root))
        assert (alone.code, alone.facts["vm_instance_uuid"]) == ("FAILED_PRECONDITION", vm.uuid)

        before = admin.position
        handed = (await admin.call("ChangeResourceOwner", **hand)).inventories
        assert {(h.resource_kind, h.resource_uuid, h.account_uuid) for h in handed} == {
            ("vm_instance", vm.uuid, bob_uuid),
            ("volume", vm.root_volume_uuid, bob_uuid),
            ("volume_snapshot", snapshot.inventory.uuid, bob_uuid),
            ("volume_snapshot_tree", tree, bob_uuid),
        }
        for rpc, uuid in (
            ("QueryVmInstance", vm.uuid),
            ("QueryVolume", vm.root_volume_uuid),
            ("QueryVolumeSnapshot", snapshot.inventory.uuid),
        ):
            assert await seen(bob, rpc) == [uuid]
            assert await seen(alice, rpc) == []
            assert await seen(alice, rpc, at_position=before) == [uuid]
        assert (await refused(alice.call("StopVmInstance", uuid=vm.uuid))).code == "NOT_FOUND"
        assert await seen(bob, "QueryVmInstance", filter='account.name = "bob" AND volumes.size > 1') == [vm.uuid]
        assert await usage(alice) == await recount(here, alice_uuid) == {}
        running = {"vm.num": 1, "vm.totalNum": 1, "vm.cpuNum": 1, "vm.memorySize": GIB, "volume.capacity": DISK_BYTES}
        running["snapshot.volume.num"] = 1
        assert await usage(bob) == await recount(here, bob_uuid) == running
        assert [tag.tag for tag in (await admin.call("QueryUserTag")).inventories] == ["gold"]

        head = admin.node.cloud.log.head
        assert not (await admin.call("ChangeResourceOwner", **hand)).inventories
        assert admin.node.cloud.log.head == head
        await bob.done("DeleteVmInstance", uuid=vm.uuid)
        back = {"account_uuid": ADMIN_UUID, "resource_uuid": vm.uuid}
        await admin.call("ChangeResourceOwner", **back)
        assert await usage(bob) == {}
        assert await seen(bob, "QueryVmInstance") == []

    on_ground(tmp_path / "data", body)


def test_images_change_hands_and_other_kinds_stay(tmp_path: Path) -> None:
    """ACC-08: what was shared stays shared; the new owner may change it, the old one may not."""

    async def body(here: Ground) -> None:
        admin = here.api
        alice_uuid, alice = await here.api.account("alice")
        bob_uuid, bob = await here.api.account("bob")
        await admin.call("ShareResource", resource_uuids=[here.image], account_uuids=[alice_uuid, bob_uuid])
        denied = await refused(alice.call("UpdateImage", uuid=here.image, name="mine"))
        assert denied.code == "PERMISSION_DENIED"
        await admin.call("ChangeResourceOwner", account_uuid=alice_uuid, resource_uuid=here.image)
        assert (await alice.call("UpdateImage", uuid=here.image, name="mine")).inventory.account_uuid == alice_uuid
        assert (await bob.call("GetImage", uuid=here.image)).inventory.name == "mine"
        await alice.call("RevokeResourceSharing", resource_uuids=[here.image], account_uuids=[bob_uuid])
        assert (await refused(bob.call("GetImage", uuid=here.image))).code == "NOT_FOUND"
        assert (await usage(alice))["image.num"] == 1
        for uuid in (here.zone, here.l3, here.host.host_uuid, bob_uuid):
            stays = await refused(admin.call("ChangeResourceOwner", account_uuid=alice_uuid, resource_uuid=uuid))
            assert (stays.code, stays.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")
            assert "image" in stays.message
        absent = await refused(admin.call("ChangeResourceOwner", account_uuid=alice_uuid, resource_uuid="f" * 32))
        assert absent.code == "NOT_FOUND"
        nobody = await refused(admin.call("ChangeResourceOwner", account_uuid="f" * 32, resource_uuid=here.image))
        assert nobody.code == "NOT_FOUND"

    on_ground(tmp_path / "data", body)


def test_what_is_shared_is_seen_used_and_recalled(tmp_path: Path) -> None:
    """ACC-09: to accounts or to all; in queries, through relations, and as what a command names."""

    async def body(here: Ground) -> None:
        admin = here.api
        offering = await admin.call("CreateInstanceOffering", name="small", cpu_num=1, memory_size=GIB)
        lent = [offering.inventory.uuid, here.image, here.l3]
        alice_uuid, alice = await admin.account("alice")
        _, bob = await admin.account("bob")
        wanted = here.fields(cpu_num=None, memory_size=None, instance_offering_uuid=lent[0], strategy="just_create")
        assert (await refused(alice.call("CreateVmInstance", **wanted))).code == "NOT_FOUND"
        await admin.call("ShareResource", resource_uuids=lent, account_uuids=[alice_uuid])
        vm = (await alice.call("CreateVmInstance", **wanted)).inventory.uuid
        by_relation = {
            "filter": 'instance_offering.name = "small" AND image.name = "linux" AND l3_networks.name = "flat"'
        }
        assert await seen(alice, "QueryVmInstance", **by_relation) == [vm]
        assert await seen(alice, "QueryIpRange") == [here.ip_range]
        assert (await refused(bob.call("CreateVmInstance", **wanted))).code == "NOT_FOUND"
        assert await seen(bob, "QueryImage") == []
        await admin.call("ShareResource", resource_uuids=lent, to_public=True)
        assert await seen(bob, "QueryImage") == [here.image]
        await admin.call("RevokeResourceSharing", resource_uuids=lent)
        assert await seen(alice, "QueryVmInstance", **by_relation) == []
        assert await seen(alice, "QueryVmInstance", filter="NOT image:*") == [vm]
        for rpc in ("QueryImage", "QueryL3Network", "QueryInstanceOffering", "QueryIpRange"):
            assert await seen(alice, rpc) == await seen(bob, rpc) == []
        assert (await refused(alice.call("CreateVmInstance", **wanted))).code == "NOT_FOUND"

        for uuid in (vm, alice_uuid):
            own = await refused(alice.call("ShareResource", resource_uuids=[uuid], to_public=True))
            assert (own.code, own.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")

    on_ground(tmp_path / "data", body)


def test_an_accounts_own_tag_can_be_lent(tmp_path: Path) -> None:
    """ACC-09, TAG-01: the admin lends a tag; who puts it on its own sees it there, and it goes as its own tags do."""

    async def main() -> None:
        async with running_node(tmp_path / "data") as admin:
            uuid, alice = await admin.account("alice")
            tag = (await admin.call("CreateTag", name="lab")).inventory.uuid
            on = {"tag_uuid": tag, "resource_uuids": [uuid]}
            assert (await refused(alice.call("AttachTagToResources", **on))).code == "NOT_FOUND"
            await admin.call("ShareResource", resource_uuids=[tag], account_uuids=[uuid])
            made = (await alice.call("AttachTagToResources", **on)).inventories[0]
            assert (made.account_uuid, made.type) == (uuid, 2)
            assert await seen(alice, "QueryAccount", filter="tag = lab") == [uuid]

    asyncio.run(main())


def test_what_the_admin_has_begun_only_the_admin_stops(tmp_path: Path) -> None:
    """ARC-12: a VM's owner sees the admin's job on it and cannot keep a host from being emptied; its own it cancels."""

    async def body(here: Ground) -> None:
        admin = here.api
        _, alice = await tenant(here, "alice")
        vm = (await alice.done("CreateVmInstance", **here.fields())).inventory.uuid
        go_on = await slow(here.host)
        job = (await admin.call("StopVmInstance", uuid=vm)).job_uuid
        assert (await alice.call("GetJob", uuid=job)).inventory.resource_uuid == vm
        denied = await refused(alice.call("CancelJob", uuid=job))
        assert (denied.code, denied.reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")
        go_on()
        ended = await admin.wait(job)
        assert ended.state == ended.STATE_SUCCEEDED
        go_on = await slow(here.host)
        own = (await alice.call("StartVmInstance", uuid=vm)).job_uuid
        await alice.call("CancelJob", uuid=own)
        go_on()  # what was done is undone
        ended = await alice.wait(own)
        assert ended.state == ended.STATE_CANCELED

    on_ground(tmp_path, body)
