"""Two hosts that share a storage: a VM that can move, one that moves as long as one looks, and a job that is Stuck."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from agents.runtime.task import TaskError
from agents.simulator.directory import Directory
from agents.simulator.host import SimulatedHost
from tests.api.populated import Populated
from tests.support.cloud import add_simulator, host_connected, simulated_hosts, until


@contextlib.asynccontextmanager
async def shared(made: Populated) -> AsyncIterator[None]:
    """Beside the cloud that is there, for as long as it lasts."""
    admin, uuids = made.admin, made.uuids
    zone = uuids["zone"]
    asked = await admin.call("CreateCluster", name="shared", zone_uuid=zone, hypervisor_type="Simulator")
    cluster = asked.inventory.uuid
    hosts = [await add_simulator(admin, cluster, f"shared-{n}") for n in (1, 2)]
    mounted = Directory()
    for host in hosts:
        host.world.mounts["/smp"] = mounted
    async with simulated_hosts(admin, *hosts):
        for host in hosts:
            await host_connected(admin, host.host_uuid)
        storage = await admin.done("AddSharedMountPointPrimaryStorage", name="smp", zone_uuid=zone, url="/smp")
        smp = made.add("shared_mount_point_primary_storage", storage.inventory.uuid)
        await admin.done("AttachPrimaryStorageToCluster", primary_storage_uuid=smp, cluster_uuid=cluster)
        await admin.done("AttachL2NetworkToCluster", l2_network_uuid=uuids["l2_network"], cluster_uuid=cluster)
        moving, movable, stuck = [await _vm(made, name, cluster) for name in ("moving", "movable", "stuck")]
        await admin.done("MigrateVm", vm_instance_uuid=movable)
        await _moves(made, hosts, moving)
        await _sticks(made, hosts, stuck, smp)
        yield


async def _vm(made: Populated, name: str, cluster: str) -> str:
    fields = {
        "instance_offering_uuid": made.uuids["instance_offering"],
        "image_uuid": made.uuids["image"],
        "l3_network_uuids": [made.uuids["l3_network"]],
    }
    return str((await made.admin.done("CreateVmInstance", name=name, cluster_uuid=cluster, **fields)).inventory.uuid)


async def _moves(made: Populated, hosts: list[SimulatedHost], vm: str) -> None:
    """By schedule, so that there is an occurrence that has not ended, too."""
    for host in hosts:
        _hold(host, "MigrateVmTask")
    admin = made.admin
    seldom = (await admin.call("CreateScheduler", name="seldom", cron="0 0 1 1 *")).inventory.uuid
    action = {"action": "MigrateVm", "arguments": "{}", "resource_uuids": [vm], "scheduler_uuids": [seldom]}
    await admin.call("CreateSchedulerJob", name="move", **action)
    await admin.call("RunSchedulerNow", uuid=seldom)

    async def begun() -> bool:
        filter = f'workflow = "migrate_vm" AND state = Running AND resource_uuid = "{vm}"'
        return len((await admin.call("QueryJob", filter=filter)).inventories) == 1

    await until(begun)


def _hold(host: SimulatedHost, held: str) -> None:
    """Tasks of this name go on when they are given up."""
    before = host.pace.before

    async def wait(name: str, work: Any) -> None:
        if name == held:
            await work.aborted.wait()
        await before(name, work)

    host.pace.before = wait  # type: ignore[method-assign]


async def _sticks(made: Populated, hosts: list[SimulatedHost], vm: str, storage: str) -> None:
    """A volume cannot be plugged in, and what was made of it cannot be removed."""
    admin = made.admin
    for host in hosts:
        host.pace.faults.order("AttachVolumeTask", TaskError("FAILED", "as ordered"))
        host.pace.faults.order("DeleteVolumeTask", TaskError("FAILED", "as ordered"), 5)
    disk = await admin.call("CreateDataVolume", name="stuck", disk_offering_uuid=made.uuids["disk_offering"])
    asked = await admin.call("AttachDataVolumeToVm", volume_uuid=disk.inventory.uuid, vm_instance_uuid=vm)

    async def stuck() -> bool:
        job = (await admin.call("GetJob", uuid=asked.job_uuid)).inventory
        assert job.state not in (job.STATE_SUCCEEDED, job.STATE_FAILED), job
        return bool(job.state == job.STATE_STUCK)

    await until(stuck)
