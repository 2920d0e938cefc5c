"""What is mounted for storages, as hosts find it by themselves between two connects (PS-07, PS-08)."""

from __future__ import annotations

from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_status import VmInstanceStatus
from zcloud.domain.infrastructure.host import Host, HostStatus, Status
from zcloud.domain.storage.claimed import is_volume
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.mounts import cut_off, usable
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.domain.storage.volume import Volume
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.unit import Unit
from zcloud.processes.infrastructure.host_watch import ON_INVENTORY
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.primary_storage_task_pb2 import StorageMountSeen


async def host_seen(cloud: Cloud, host: Host, inventory: HostInventory) -> None:
    """Each storage by itself, so that the log says of each why. Most often there is no news."""
    books = await cloud.load(HostStorage.stream_of(host.uuid, host.life), HostStorage)
    shares = books.shares if isinstance(books, HostStorage) else {}
    for seen in inventory.storage_mounts:
        share = shares.get(seen.primary_storage_uuid)
        if share is None or share.unusable != seen.error or seen.ended_process not in ("", share.ended):
            await _take(cloud, host.uuid, host.name, seen)


async def _take(cloud: Cloud, host_uuid: str, name: str, seen: StorageMountSeen) -> None:
    async def take(unit: Unit) -> None:
        host, storage = await unit.find(Host, host_uuid), await unit.find(PrimaryStorage, seen.primary_storage_uuid)
        if host is None or storage is None or host.cluster_uuid not in storage.attached_cluster_uuids:
            return
        # Of one that is not connected it is known already, and its connect looks at all that it has.
        if (await unit.companion(HostStatus, host)).status is not Status.CONNECTED:
            return
        if seen.error:
            await cut_off(unit, storage, host, seen.error)
        else:
            await usable(unit, storage, host, seen.total_capacity, seen.available_capacity)
        if seen.ended_process:
            await _guests_of(unit, storage, host, seen.ended_process)

    reason = f'host "{name}": {seen.error or "it can use it again"}'
    await cloud.decide(cloud.by_itself("storage_mounts", reason), take)


async def _guests_of(unit: Unit, storage: PrimaryStorage, host: Host, ended: str) -> None:
    """Those that run there have had their disks open through it, and are told what would help."""
    books = await unit.companion(HostStorage, host)
    if not books.mount_ended(storage.uuid, ended):
        return
    reason = (
        f'its disks on primary storage "{storage.name}" give errors: the process by which host "{host.name}" had it '
        "mounted has ended; stop it (type Cold), and start it again"
    )
    for key in books.shares[storage.uuid].claims:
        volume = await unit.find(Volume, key) if is_volume(key) else None
        vm = await unit.find(VmInstance, volume.vm_instance_uuid) if volume and volume.vm_instance_uuid else None
        status = await unit.companion(VmInstanceStatus, vm) if vm is not None else None
        if status is not None and status.host_uuid == host.uuid:
            status.disks_failed(reason)


ON_INVENTORY.append(host_seen)
