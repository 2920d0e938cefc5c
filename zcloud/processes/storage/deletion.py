"""What deleting zones, clusters, hosts, storages and accounts means for storages and images (behaviours: cascade)."""

from __future__ import annotations

from zcloud.domain.infrastructure.cluster import Cluster, ClusterAttachments
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.storage import allocation
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.image import Image
from zcloud.domain.storage.image_copies import drop_copy
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob
from zcloud.processes.operations.deletion import STEPS, on_delete


async def next_image(unit: Unit, job: Job) -> SubJob | None:
    """The first image that has, or will have, a copy on the backup storage which is being deleted."""
    storage = await unit.get(BackupStorage, job.resource_uuid)
    for uuid in (await unit.companion(BackupStorageCapacity, storage)).images:
        image = await unit.find(Image, uuid)
        if image is not None and uuid not in job.passed_over:
            args = {"backup_storage_uuid": storage.uuid, "mode": job.args.get("mode", "Permissive")}
            return SubJob("delete_image_copy", image, args)
    return None


IMAGES = Step("images", next_image, timeout=6 * 3600, repeat=True, tolerant=True)
STEPS["sftp_backup_storage"] = (IMAGES,)


@on_delete("backup_storage")
async def drop_copies(unit: Unit, storage: Resource) -> None:
    """Copies that could not be removed are given up with their storage."""
    assert isinstance(storage, BackupStorage)
    for uuid in (await unit.companion(BackupStorageCapacity, storage)).images:
        image = await unit.find(Image, uuid)
        if image is not None:
            await drop_copy(unit, image, storage)


@on_delete("zone")
async def detach_backup_storages(unit: Unit, zone: Resource) -> None:
    """Backup storages outlive zones."""
    for uuid in await unit.port("views").holding("backup_storage", "attached_zone_uuids", zone.uuid):
        storage = await unit.find(BackupStorage, uuid)
        if storage is not None and zone.uuid in storage.attached_zone_uuids:
            storage.detach(zone.uuid)


@on_delete("cluster")
async def detach_primary_storages(unit: Unit, cluster: Resource) -> None:
    """Its hosts are gone already."""
    assert isinstance(cluster, Cluster)
    attachments = await unit.companion(ClusterAttachments, cluster)
    for uuid in attachments.primary_storage_uuids:
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is not None and cluster.uuid in storage.attached_cluster_uuids:
            storage.detach(cluster.uuid)
        attachments.detach_primary_storage(uuid)


@on_delete("host")
async def forget_host(unit: Unit, host: Resource) -> None:
    """What it brought to storages is gone with it."""
    assert isinstance(host, Host)
    books = await unit.companion(HostStorage, host)
    for uuid in tuple(books.shares):
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is not None:
            await allocation.forget(unit, storage, host)
        else:
            books.forget(uuid)


@on_delete("primary_storage")
async def forget_storage(unit: Unit, storage: Resource) -> None:
    """Clusters and hosts have it no longer; what lies there is left behind."""
    assert isinstance(storage, PrimaryStorage)
    for uuid in (await unit.companion(PrimaryStorageCapacity, storage)).hosts:
        host = await unit.find(Host, uuid)
        if host is not None:
            await allocation.forget(unit, storage, host)
    for uuid in storage.attached_cluster_uuids:
        cluster = await unit.find(Cluster, uuid)
        if cluster is not None:
            (await unit.companion(ClusterAttachments, cluster)).detach_primary_storage(storage.uuid)
