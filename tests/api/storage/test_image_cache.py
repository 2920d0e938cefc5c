"""What brings an image to a host, on a real backup storage, and what removes it there (IMG-02, IMG-10)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import raw
from tests.api.storage.world import add_storage, allow, image_of
from tests.support.cloud import add_simulator, host_connected, running_node, simulated_hosts, simulator_cluster, until
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.volume import Volume
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Reason, Refused
from zcloud.kernel.unit import Unit
from zcloud.processes.storage.image_cache import cache_path, cache_task, cached
from zcloud.processes.storage.image_cache_collection import ImageCacheCollection
from zcloud.v1.image_task_pb2 import CacheImageResult

pytestmark = pytest.mark.real


def test_an_image_is_fetched_once_and_outlives_its_storage(tmp_path: Path, sshd: PrivateSshd) -> None:
    source = raw(tmp_path / "disk.raw")

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            zone, cluster = await simulator_cluster(api)
            backup = await add_storage(api, sshd, tmp_path / "store")
            await allow(api, paths=str(tmp_path))
            added = await api.done("AddImage", name="i", url=f"file://{source}", format="raw")
            image = await image_of(api, added.inventory.uuid)
            local = await api.call("AddLocalPrimaryStorage", name="local", zone_uuid=zone, url="/ps")
            fields = {"primary_storage_uuid": local.inventory.uuid, "cluster_uuid": cluster}
            host = await add_simulator(api, cluster)
            async with simulated_hosts(api, host):
                await host_connected(api, host.host_uuid)
                await api.done("AttachPrimaryStorageToCluster", **fields)

                async def within(body: Callable[..., Awaitable[Any]], *more: Any) -> Any:
                    async def decide(unit: Unit) -> Any:
                        storage = await unit.get(PrimaryStorage, local.inventory.uuid)
                        return await body(unit, await unit.get(Image, image.uuid), storage, host.host_uuid, *more)

                    return (await api.node.cloud.decide(Context(), decide)).value

                with pytest.raises(Refused) as elsewhere:
                    await within(cache_task)
                assert elsewhere.value.reason is Reason.WRONG_STATUS  # not attached to the host's zone
                await api.call("AttachBackupStorageToZone", backup_storage_uuid=backup.uuid, zone_uuid=zone)
                task = await within(cache_task)
                assert task.target == host.host_uuid
                assert task.args.source.private_key == sshd.client_key
                assert task.args.source.host_key == sshd.host_key
                assert task.args.source_path == image.copies[0].install_path
                assert (task.args.sha256, task.args.actual_size) == (image.sha256, image.actual_size)
                assert task.args.cache_path.startswith(f"/ps/imagecache/template/{image.uuid}")

                await within(cached, CacheImageResult(actual_size=image.actual_size))
                shown = (await api.call("GetPrimaryStorage", uuid=local.inventory.uuid)).inventory
                assert shown.available_capacity == shown.total_capacity - image.actual_size
                assert await within(cache_task) is None

                async def path(unit: Unit, found: Image, storage: PrimaryStorage, host_uuid: str) -> str:
                    await unit.get(Host, host_uuid)
                    return cache_path(storage, found)

                assert await within(path) == task.args.cache_path
                await api.call("ChangeBackupStorageState", uuid=backup.uuid, state_event="disable")
                assert await within(cache_task) is None
                await api.call("ChangeBackupStorageState", uuid=backup.uuid, state_event="enable")

                # it stays while the image is there, and then while a volume rests on it
                volumes: list[str] = []

                async def rest(unit: Unit, found: Image, storage: PrimaryStorage, host_uuid: str) -> None:
                    volume = await unit.new(Volume)
                    volume.create_root(
                        vm_instance_uuid="a" * 32, vm_name="v", zone_uuid=zone, image_uuid=found.uuid, size=1 << 20
                    )
                    await allocation.claim(unit, storage, await unit.get(Host, host_uuid), volume.uuid, 1 << 20)
                    volumes.append(volume.uuid)

                async def leave(unit: Unit) -> None:
                    storage = await unit.get(PrimaryStorage, local.inventory.uuid)
                    await allocation.release(unit, storage, await unit.get(Host, host.host_uuid), volumes[0])

                async def clean_up() -> str:
                    answer = await api.done("CleanUpImageCacheOnPrimaryStorage", uuid=local.inventory.uuid)
                    return str(answer.job_uuid)

                assert await clean_up() == ""
                await within(rest)
                await api.call("DeleteImage", uuid=image.uuid)
                assert await clean_up() == ""
                await api.done("ExpungeImage", uuid=image.uuid)
                assert await clean_up() == ""
                await api.node.cloud.decide(Context(), leave)
                host.world.cache[task.args.cache_path] = image.actual_size
                watch = next(w for w in api.node.watches if isinstance(w, ImageCacheCollection))
                await watch.look()

                async def empty() -> bool:
                    return not host.world.cache

                await until(empty)
                assert await clean_up() == ""
                shown = (await api.call("GetPrimaryStorage", uuid=local.inventory.uuid)).inventory
                assert shown.available_capacity == shown.total_capacity

    asyncio.run(main())
