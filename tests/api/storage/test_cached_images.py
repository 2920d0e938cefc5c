"""Which images lie cached where, who stands on them and when they were last used, at the door (IMG-02, BS-19)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.compute.ground import GIB, IMAGE_BYTES, Ground, add_image, on_ground, refused
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.image_cache import ImageCache
from zcloud.domain.storage.volume import VolumeStatus
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit


async def seen(here: Ground, filter: str = "", **asked: Any) -> list[Any]:
    return list((await here.api.call("QueryImageCache", filter=filter, **asked)).inventories)


async def counts(here: Ground, filter: str = "", **asked: Any) -> list[int]:
    return [one.volume_count for one in await seen(here, filter, **asked)]


async def standing(here: Ground, cache: str) -> set[str]:
    """The volumes themselves, by the uuid of what they stand on."""
    found = await here.api.call("QueryVolume", filter=f"image_cache_uuid = {cache}")
    return {one.uuid for one in found.inventories}


async def forget_image(here: Ground, uuid: str) -> None:
    async def forget(unit: Unit) -> None:
        (await unit.get(Image, uuid)).remove()

    await here.api.node.cloud.decide(Context(actor=SYSTEM), forget)


def test_on_the_disk_of_each_host(tmp_path: Path) -> None:
    """One for each host; created, made anew, deleted: the count follows, and the volumes say the same."""

    async def body(here: Ground) -> None:
        assert await seen(here) == []
        one, two = here.hosts
        vms = [await here.create(name=f"vm{n}", host_uuid=one.host_uuid) for n in range(2)]
        first = (await seen(here))[0]
        assert (first.name, first.image_uuid, first.primary_storage_uuid) == ("linux", here.image, here.storage)
        assert (first.host_uuid, first.size, first.volume_count) == (one.host_uuid, IMAGE_BYTES, 2)
        assert first.path in one.world.cache
        assert first.create_date.ToMicroseconds() <= first.last_used_date.ToMicroseconds()
        assert await standing(here, first.uuid) == {vm.root_volume_uuid for vm in vms}
        await here.api.call("UpdateVmInstance", uuid=vms[0].uuid, description="marks the moment")
        then = here.api.position
        vms.append(await here.create(name="vm2", host_uuid=two.host_uuid))

        # asked for as everything is: filter, order, pages, sums, as of then
        assert await counts(here, order_by="last_used_date") == [2, 1]
        assert await counts(here, order_by="last_used_date desc") == [1, 2]
        assert await counts(here, 'primary_storage.name = "storage" AND host.name = "host-2"') == [1]
        assert await counts(here, "image.name = linux AND volume_count > 1") == [2]
        assert await counts(here, at_position=then) == [2]
        page = await here.api.call("QueryImageCache", order_by="volume_count", page_size=1, count=True)
        assert ([found.volume_count for found in page.inventories], page.total) == ([1], 2)
        rest = await counts(here, order_by="volume_count", page_size=1, page_token=page.next_page_token)
        assert rest == [2]
        grouped = await here.api.call("QueryImageCache", group_by="primary_storage_uuid", sums="size,volume_count")
        assert [[total.value for total in group.sums] for group in grouped.groups] == [[2 * IMAGE_BYTES, 3]]
        tenant = (await here.api.account("tenant"))[1]
        assert (await refused(tenant.call("QueryImageCache"))).code == "PERMISSION_DENIED"
        assert (await refused(tenant.call("GetImageCache", uuid=first.uuid))).code == "PERMISSION_DENIED"

        # made anew from the same image it is used again, from another one it stands elsewhere
        await here.api.done("StopVmInstance", uuid=vms[0].uuid)
        await here.api.done("ReimageVmInstance", vm_instance_uuid=vms[0].uuid)
        again = (await here.api.call("GetImageCache", uuid=first.uuid)).inventory
        assert again.volume_count == 2
        assert again.last_used_date.ToMicroseconds() > first.last_used_date.ToMicroseconds()
        other = await add_image(here, "other")
        await here.api.done("ChangeVmImage", vm_instance_uuid=vms[0].uuid, image_uuid=other)
        assert await counts(here, "image.name = other") == [1]
        assert await counts(here, f"host_uuid = {one.host_uuid} AND image_uuid = {here.image}") == [1]

        # a VM that cannot be made leaves nothing; one that is deleted leaves when its files do
        here.order("StartVmTask")
        await here.failed("CreateVmInstance", **here.fields(host_uuid=one.host_uuid))
        assert await counts(here, f"uuid = {first.uuid}") == [1]
        await here.api.done("DeleteVmInstance", uuid=vms[1].uuid)
        assert await counts(here, f"uuid = {first.uuid}") == [1]
        await here.api.done("ExpungeVmInstance", uuid=vms[1].uuid)
        assert await counts(here, f"uuid = {first.uuid}") == [0]
        assert await standing(here, first.uuid) == set()

        # what is gone and stood on by none is what cleaning up removes
        await forget_image(here, here.image)
        await here.api.done("CleanUpImageCacheOnPrimaryStorage", uuid=here.storage)
        assert first.path not in one.world.cache
        assert (await refused(here.api.call("GetImageCache", uuid=first.uuid))).code == "NOT_FOUND"
        assert [found.host_uuid for found in await seen(here, f"image_uuid = {here.image}")] == [two.host_uuid]
        await here.api.done("DeleteHost", uuid=two.host_uuid, delete_mode="enforcing")
        assert await seen(here, f"image_uuid = {here.image}") == []

    on_ground(tmp_path, body, hosts=2)


def test_where_hosts_see_the_same_files(tmp_path: Path) -> None:
    """One for all hosts, whichever of them fetched it, and whichever goes; an ISO is used without being stood on."""

    async def body(here: Ground) -> None:
        vms = [await here.create(name=host.host_uuid[:8], host_uuid=host.host_uuid) for host in here.hosts]
        found = await seen(here)
        assert [(one.host_uuid, one.volume_count) for one in found] == [("", 2)]
        data = await add_image(here, "data", media_type="DataVolumeTemplate")
        made = await here.api.done(
            "CreateDataVolumeFromVolumeTemplate", name="d", image_uuid=data, primary_storage_uuid=here.storage
        )
        [template] = await seen(here, "image.name = data")
        assert await standing(here, template.uuid) == {made.inventory.uuid}
        iso = await add_image(here, "iso", format="Iso")
        await here.api.done("AttachIsoToVmInstance", vm_instance_uuid=vms[0].uuid, iso_uuid=iso)
        [drive] = await seen(here, "image.name = iso")
        assert drive.volume_count == 0
        assert drive.last_used_date.seconds
        installed = await here.create(name="installed", image_uuid=iso, root_disk_size=GIB)
        [again] = await seen(here, "image.name = iso")
        assert again.volume_count == 0
        assert again.last_used_date.ToMicroseconds() > drive.last_used_date.ToMicroseconds()
        await here.api.done("DeleteVmInstance", uuid=installed.uuid)

        for host in here.hosts:
            await here.api.done("DeleteHost", uuid=host.host_uuid, delete_mode="enforcing")
            left = await seen(here, f"uuid = {found[0].uuid}")
            assert bool(left) is (host is not here.hosts[-1])

    on_ground(tmp_path, body, hosts=2, shared=True)


def test_books_of_before_are_counted(tmp_path: Path) -> None:
    """Caches that were filled before anybody could ask for them are found by the next cleaning up."""

    async def body(here: Ground) -> None:
        vms = [await here.create(name=f"vm{n}") for n in range(2)]
        [before] = await seen(here)

        async def as_before(unit: Unit) -> None:
            (await unit.get(ImageCache, before.uuid)).remove()
            for vm in vms:
                (await unit.companion_of(VolumeStatus, vm.root_volume_uuid)).based("")

        await here.api.node.cloud.decide(Context(actor=SYSTEM), as_before)
        assert await seen(here) == []
        await here.api.done("CleanUpImageCacheOnPrimaryStorage", uuid=here.storage)
        [after] = await seen(here)
        assert (after.uuid, after.path, after.size, after.volume_count) == (before.uuid, before.path, before.size, 2)
        assert await standing(here, after.uuid) == {vm.root_volume_uuid for vm in vms}
        position = (await here.api.call("GetImageCache", uuid=after.uuid)).inventory.version
        await here.api.done("CleanUpImageCacheOnPrimaryStorage", uuid=here.storage)
        assert (await here.api.call("GetImageCache", uuid=after.uuid)).inventory.version == position
        await here.create(name="vm2")
        assert await counts(here) == [3]

    on_ground(tmp_path, body)
