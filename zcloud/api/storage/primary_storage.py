"""What is not standard about primary storages: hosts prepare them, and what is in use is not taken away."""

from __future__ import annotations

from typing import Any, TypeVar

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments, delete_mode, remove, state_event
from zcloud.domain.infrastructure.cluster import Cluster, ClusterAttachments
from zcloud.domain.infrastructure.host import Host, HostStatus, Status
from zcloud.domain.storage import allocation
from zcloud.domain.storage.apart import must_be_another_export, overlap
from zcloud.domain.storage.local_primary_storage import LocalPrimaryStorage
from zcloud.domain.storage.nfs_primary_storage import NfsPrimaryStorage
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageStatus
from zcloud.domain.storage.primary_storage_state import PrimaryStorageState
from zcloud.domain.storage.shared_mount_point_primary_storage import SharedMountPointPrimaryStorage
from zcloud.domain.storage.storage_combinations import must_combine
from zcloud.domain.storage.storage_network_hosts import PrimaryStorageNetwork
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.storage.image_cache_collection import clean_up
from zcloud.processes.storage.local_storage import detach

Made = TypeVar("Made", LocalPrimaryStorage, NfsPrimaryStorage, SharedMountPointPrimaryStorage)


@command("AddLocalPrimaryStorage")
async def add_local_primary_storage(call: Call, unit: Unit, request: Any) -> LocalPrimaryStorage:
    """It is Connecting until a host has it (PS-06)."""
    return await _add(call, unit, request, LocalPrimaryStorage)


@command("AddSharedMountPointPrimaryStorage")
async def add_shared_mount_point(call: Call, unit: Unit, request: Any) -> SharedMountPointPrimaryStorage:
    """It is Connecting until a host has found it mounted (PS-08)."""
    return await _add(call, unit, request, SharedMountPointPrimaryStorage)


@command("AddNfsPrimaryStorage")
async def add_nfs_primary_storage(call: Call, unit: Unit, request: Any) -> NfsPrimaryStorage:
    """It is Connecting until a host has mounted it (PS-07)."""
    storage = await _add(call, unit, request, NfsPrimaryStorage)
    for uuid in await unit.port("views").where("nfs_primary_storage"):
        if (other := await unit.find(NfsPrimaryStorage, uuid)) is not None:
            must_be_another_export(storage, other)
    return storage


async def _add(call: Call, unit: Unit, request: Any, kind: type[Made]) -> Made:
    storage = await unit.new(kind, request.resource_uuid)
    storage.create(**arguments(call, request))
    (await unit.companion(PrimaryStorageStatus, storage)).connecting()
    return storage


@command("ReconnectPrimaryStorage")
async def reconnect_primary_storage(call: Call, unit: Unit, request: Any) -> PrimaryStorage:
    """Every connected host that it is attached to looks at it again; without one there is nothing to do."""
    storage = await unit.usable(PrimaryStorage, request.uuid)
    await _look_again(unit, storage)
    return storage


@command("UpdatePrimaryStorage")
async def update_primary_storage(call: Call, unit: Unit, request: Any) -> PrimaryStorage:
    """Where it is reached by another network, hosts look at that at once (PS-05)."""
    storage = await unit.get(PrimaryStorage, request.uuid)
    before = storage.storage_network_cidr
    storage.update(**arguments(call, request))
    if storage.storage_network_cidr != before:
        books = await unit.companion(PrimaryStorageNetwork, storage)
        books.forget([one.host_uuid for one in books.storage_network_hosts])
        await _look_again(unit, storage)
    return storage


async def _look_again(unit: Unit, storage: PrimaryStorage) -> None:
    hosts = []
    for cluster_uuid in storage.attached_cluster_uuids:
        cluster = await unit.find(Cluster, cluster_uuid)
        found = await _hosts(unit, cluster) if cluster is not None else []
        hosts += [host.uuid for host in found if await _is_connected(unit, host)]
    if hosts:
        await submit(unit, "reconnect_primary_storage", storage, {"storage": storage.uuid, "hosts": hosts})


@command("ChangePrimaryStorageState")
async def change_primary_storage_state(call: Call, unit: Unit, request: Any) -> PrimaryStorage:
    """At once; for maintenance a job stops the VMs whose volumes lie there (behaviours 4)."""
    storage = await unit.get(PrimaryStorage, request.uuid)
    before = storage.state
    storage.change_state(state_event(call, request))
    if storage.state is PrimaryStorageState.MAINTENANCE and storage.state is not before:
        args = {"before": before.value, "mode": "Enforcing" if request.ignore_error else "Permissive"}
        await submit(unit, "maintain_primary_storage", storage, args)
    return storage


@command("AttachPrimaryStorageToCluster")
async def attach_primary_storage(call: Call, unit: Unit, request: Any) -> PrimaryStorage:
    """Every connected host of the cluster prepares it; the others do when they connect."""
    storage = await unit.usable(PrimaryStorage, request.primary_storage_uuid)
    cluster = await unit.usable(Cluster, request.cluster_uuid)
    storage.attach(cluster.uuid, cluster.zone_uuid)
    attachments = await unit.companion(ClusterAttachments, cluster)
    others = [found for u in attachments.primary_storage_uuids if (found := await unit.find(PrimaryStorage, u))]
    must_combine(cluster.name, others, storage)
    for other in others:
        if overlap(other.directory, storage.directory):
            text = (
                f'cluster "{cluster.name}" has primary storage "{other.name}" at {other.directory}: the two would mix'
            )
            raise precondition(Reason.OVERLAP, text, primary_storage_uuid=other.uuid)
    attachments.attach_primary_storage(storage.uuid)
    hosts = [host.uuid for host in await _hosts(unit, cluster) if await _is_connected(unit, host)]
    if hosts:
        args = {"storage": storage.uuid, "cluster": cluster.uuid, "hosts": hosts}
        await submit(unit, "attach_primary_storage", storage, args)
    return storage


@command("DetachPrimaryStorageFromCluster")
async def detach_primary_storage(call: Call, unit: Unit, request: Any) -> PrimaryStorage:
    """Refused while volumes of the cluster's VMs lie there; cached images are left behind."""
    storage = await unit.get(PrimaryStorage, request.primary_storage_uuid)
    cluster = await unit.get(Cluster, request.cluster_uuid)
    hosts = await _hosts(unit, cluster)
    await _must_hold_no_volumes(unit, storage, hosts)
    await detach(unit, storage, cluster, hosts)
    return storage


@command("DeletePrimaryStorage")
async def delete_primary_storage(call: Call, unit: Unit, request: Any) -> Resource:
    """It must be detached from all clusters first; Enforcing deletes what lies there."""
    storage = await unit.get(PrimaryStorage, request.uuid)
    if delete_mode(request) != "Enforcing" and storage.attached_cluster_uuids:
        clusters = ", ".join(storage.attached_cluster_uuids[:10])
        text = f'primary storage "{storage.name}" is attached to {clusters}; detach it first, or delete Enforcing'
        raise precondition(Reason.STILL_IN_USE, text)
    return await remove(call, unit, storage, request)


async def _hosts(unit: Unit, cluster: Cluster) -> list[Host]:
    uuids = await unit.port("views").where("host", cluster_uuid=cluster.uuid)
    return [host for uuid in uuids if (host := await unit.find(Host, uuid)) is not None]


async def _is_connected(unit: Unit, host: Host) -> bool:
    return (await unit.companion(HostStatus, host)).status is Status.CONNECTED


async def _must_hold_no_volumes(unit: Unit, storage: PrimaryStorage, hosts: list[Host]) -> None:
    volumes = await allocation.volumes_on(unit, storage, hosts)
    if volumes:
        named = ", ".join(volumes[:10])
        text = f'primary storage "{storage.name}" holds {len(volumes)} volumes of VMs there ({named}); expunge them'
        raise precondition(Reason.STILL_IN_USE, text, volumes=len(volumes))


@command("CleanUpImageCacheOnPrimaryStorage")
async def clean_up_image_cache(call: Call, unit: Unit, request: Any) -> PrimaryStorage:
    """At once what is done at intervals anyway (IMG-02)."""
    storage = await unit.usable(PrimaryStorage, request.uuid)
    storage.must_serve("its image cache cannot be cleaned up")
    await clean_up(unit, storage)
    return storage
