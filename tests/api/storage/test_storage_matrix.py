"""What primary and backup storages do with each other, by kind and status, at the door (PS-15 to PS-18)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.compute.ground import GIB, Ground, add_image, on_ground, refused
from tests.support.cloud import simulated_hosts, until
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity, BackupStorageStatus
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.primary_storage import PrimaryStorageStatus
from zcloud.domain.storage.shared_mount_point_primary_storage import SharedMountPointPrimaryStorage
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit

PAIR = 'primary storage "block" (SharedBlock) and backup storage "sftp" (SftpBackupStorage) do not go together'


async def add_block(here: Ground) -> str:
    """A primary storage of a kind that SFTP does not go with, as hosts see it a shared mount point."""

    async def seed(unit: Unit) -> str:
        storage = await unit.new(SharedMountPointPrimaryStorage, account_uuid=unit.context.actor.account_uuid)
        storage.trigger(storage.Created(name="block", zone_uuid=here.zone, url="/block", type="SharedBlock"))
        (await unit.companion(PrimaryStorageStatus, storage)).connecting()
        return storage.uuid

    uuid = str((await here.api.node.cloud.decide(Context(actor=SYSTEM), seed)).value)
    both = {"cluster_uuid": here.cluster}
    await here.api.done("DetachPrimaryStorageFromCluster", primary_storage_uuid=here.storage, **both)
    here.host.world.mounts["/block"] = here.host.world.mounts["/smp"]
    await here.api.done("AttachPrimaryStorageToCluster", primary_storage_uuid=uuid, **both)
    return uuid


async def add_image_store(here: Ground) -> str:
    async def seed(unit: Unit) -> str:
        store = await unit.new(ImageStoreBackupStorage, account_uuid=unit.context.actor.account_uuid)
        sealed = here.api.node.vault.seal("-")
        store.create(
            name="pieces", url="/store", hostname="store.invalid", username="root", password=sealed, token=sealed
        )
        store.attach(here.zone)
        (await unit.companion(BackupStorageStatus, store)).connected()
        return store.uuid

    return str((await here.api.node.cloud.decide(Context(actor=SYSTEM), seed)).value)


async def measure(here: Ground, uuid: str, size: int) -> None:
    async def measured(unit: Unit) -> None:
        storage = await unit.get(BackupStorage, uuid)
        (await unit.companion(BackupStorageCapacity, storage)).measured(size, size)

    await here.api.node.cloud.decide(Context(actor=SYSTEM), measured)


def test_images_pass_between_kinds_that_go_together_only(tmp_path: Path) -> None:
    """PS-15, PS-16: to hosts and from them; who is named is refused by the pair, who is not named is not chosen."""

    async def body(here: Ground) -> None:
        api = here.api
        block = await add_block(here)
        await measure(here, here.backup, 900 * GIB)

        # from the backup storage
        error = await refused(api.done("CreateVmInstance", **here.fields()))
        assert PAIR in error.message
        data = await add_image(here, "data", media_type="DataVolumeTemplate")
        fields = {"name": "d", "image_uuid": data, "primary_storage_uuid": block}
        error = await refused(api.call("CreateDataVolumeFromVolumeTemplate", **fields))
        assert error.code == "FAILED_PRECONDITION"
        assert PAIR in error.message
        assert (await api.call("QueryVolume", count=True)).total == 0

        # to it
        volume = (await api.done("CreateDataVolume", name="v", disk_size=GIB, primary_storage_uuid=block)).inventory
        make = {"name": "t", "volume_uuid": volume.uuid}
        rpc = "CreateDataVolumeTemplateFromVolume"
        error = await refused(api.call(rpc, **make, backup_storage_uuid=here.backup))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")
        assert PAIR in error.message
        error = await refused(api.call(rpc, **make))
        assert error.code == "FAILED_PRECONDITION"
        assert PAIR in error.message

        # the one that goes with it is the default, however little room it has beside the other
        store = await add_image_store(here)
        await measure(here, store, 90 * GIB)
        candidates = await api.call("GetCandidateBackupStorageForCreatingImage", volume_uuid=volume.uuid)
        assert [one.uuid for one in candidates.candidates] == [store]
        assert [(one.uuid, PAIR in one.reason) for one in candidates.refused] == [(here.backup, True)]
        image = (await api.call(rpc, **make)).inventory
        assert [copy.backup_storage_uuid for copy in image.copies] == [store]

    on_ground(tmp_path, body, shared=True)


def test_defaults_of_the_kinds_that_there_are(tmp_path: Path) -> None:
    """PS-16: for local storage and shared files both kinds of backup storage will do; the one with more room is it."""

    async def body(here: Ground) -> None:
        store = await add_image_store(here)
        vm = await here.create()

        async def chosen() -> list[str]:
            found = await here.api.call("GetCandidateBackupStorageForCreatingImage", volume_uuid=vm.root_volume_uuid)
            assert not found.refused
            return [one.uuid for one in found.candidates]

        await measure(here, here.backup, 90 * GIB)
        await measure(here, store, 900 * GIB)
        assert await chosen() == [store, here.backup]
        await measure(here, here.backup, 9000 * GIB)
        assert await chosen() == [here.backup, store]

    on_ground(tmp_path, body)


def test_figures_while_a_storage_is_away(tmp_path: Path) -> None:
    """PS-18: they stay what was last known, with the status beside them, and nothing is given out by them."""

    async def figures(here: Ground) -> tuple[Any, tuple[int, ...]]:
        found = (await here.api.call("GetPrimaryStorage", uuid=here.storage)).inventory
        return found, (
            found.total_capacity,
            found.available_capacity,
            found.total_physical_capacity,
            found.available_physical_capacity,
        )

    async def body(here: Ground) -> None:
        await here.create()
        _, before = await figures(here)
        await here.fleet.stop()

        async def is_away() -> bool:
            found, _ = await figures(here)
            return bool(found.status == found.STATUS_DISCONNECTED)

        await until(is_away)
        storage, away = await figures(here)
        assert away == before
        lost = await here.api.call("QueryPrimaryStorage", filter="status = Disconnected AND available_capacity > 0")
        assert [one.uuid for one in lost.inventories] == [here.storage]
        error = await refused(
            here.api.done("CreateDataVolume", name="v", disk_size=GIB, primary_storage_uuid=storage.uuid)
        )
        assert error.code in ("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION")
        error = await refused(here.api.done("CreateVmInstance", **here.fields()))
        assert error.code in ("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION")
        assert (await figures(here))[1] == before

        # what went meanwhile is not given out twice: the connect measures, and the books say the rest
        here.host.world.disk_size -= 3 * GIB
        async with simulated_hosts(here.api, here.host):

            async def is_back() -> bool:
                found, now = await figures(here)
                return bool(found.status == found.STATUS_CONNECTED) and now[0] == before[0] - 3 * GIB

            await until(is_back)
            assert (await figures(here))[1][1] == before[1] - 3 * GIB

    on_ground(tmp_path, body)


def test_one_share_for_both(tmp_path: Path) -> None:
    """PS-17: hosts are told where they should see the image; QueryImageCache tells which way it came."""

    async def body(here: Ground) -> None:
        api = here.api

        async def share(**fields: Any) -> Any:
            return (await api.done("UpdateSftpBackupStorage", uuid=here.backup, **fields)).inventory

        local = await api.call("AddLocalPrimaryStorage", name="local", zone_uuid=here.zone, url="/local")
        error = await refused(share(shared_primary_storage_uuid=local.inventory.uuid, shared_path="images"))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")
        for wrong in ("", "/images", "../images", "a/../b", ".", "a//b", "a/"):
            error = await refused(share(shared_primary_storage_uuid=here.storage, shared_path=wrong))
            assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["shared_path"]), wrong
        error = await refused(share(shared_path="images"))
        assert error.fields == ["shared_primary_storage_uuid"]
        shared = await share(shared_primary_storage_uuid=here.storage, shared_path="images")
        assert (shared.shared_primary_storage_uuid, shared.shared_path) == (here.storage, "images")
        found = await api.call("QuerySftpBackupStorage", filter="shared_primary_storage.name = storage")
        assert [one.uuid for one in found.inventories] == [here.backup]

        # the image is at /zcloud/bs/i on its server, whose directory is /zcloud/bs
        here.host.world.shared_files.add("/smp/images/i")
        await here.create()
        other = await add_image(here, "other")
        here.host.world.shared_files.clear()
        await here.create(name="sent", image_uuid=other)
        caches = (await api.call("QueryImageCache", order_by="name")).inventories
        assert [(one.name, one.on_share) for one in caches] == [("linux", True), ("other", False)]
        gone = await share(shared_path="")
        assert (gone.shared_primary_storage_uuid, gone.shared_path) == ("", "")

    on_ground(tmp_path, body, shared=True)
