"""Live migration at the door: it runs on one host or on the other, and all books know which (VM-38)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import GIB, Ground, on_ground, refused


def where(here: Ground, vm: str) -> list[str]:
    """Hosts that really have it."""
    return [host.host_uuid for host in here.hosts if vm in host.world.vms]


async def all_at(here: Ground, vm: Any, host_uuid: str) -> None:
    """The VM, its CPU, its room, its address: on this host and on no other."""
    now = await here.vm(vm.uuid)
    assert (now.state, now.host_uuid) == (now.STATE_RUNNING, host_uuid)
    assert where(here, vm.uuid) == [host_uuid]
    books = await here.books()
    assert books["cpu"][vm.uuid][0] == host_uuid
    assert {books["disk"][uuid][0] for uuid in (vm.root_volume_uuid, *vm.data_volume_uuids)} == {host_uuid}
    served = {h.host_uuid for h in here.hosts for s in h.world.dhcp.values() if vm.vm_nics[0].mac in s.entries}
    assert served == {host_uuid}
    for host in here.hosts:
        found = (await here.api.call("GetHost", uuid=host.host_uuid)).inventory
        taken = found.total_memory_capacity - found.available_memory_capacity
        assert taken == (vm.memory_size if host.host_uuid == host_uuid else 0)


def test_there_and_back(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create(data_disk_sizes=[GIB])
        first = vm.host_uuid
        second = next(host.host_uuid for host in here.hosts if host.host_uuid != first)
        call = {"vm_instance_uuid": vm.uuid}
        await here.api.done("MigrateVm", **call)
        await all_at(here, vm, second)
        assert (await here.vm(vm.uuid)).last_host_uuid == first
        ways = {host.host_uuid: host.world.left_by for host in here.hosts}
        assert ways[first][vm.uuid] == (await here.api.call("GetHost", uuid=second)).inventory.management_ip
        error = await refused(here.api.call("MigrateVm", **call, host_uuid=second))
        assert (error.code, "is to leave it" in error.message) == ("RESOURCE_EXHAUSTED", True)
        # CLU-18: through a network of its own, where the cluster has one
        network = {"category": "host", "name": "migration.network", "resource_uuid": here.cluster}
        wrong = await refused(here.api.call("UpdateResourceConfig", **network, value="10.0.0.0/8,11.0.0.0/8"))
        assert wrong.code == "INVALID_ARGUMENT"
        await here.api.call("UpdateResourceConfig", **network, value="10.9.0.0/16")
        await here.api.done("MigrateVm", **call, host_uuid=first)
        await all_at(here, vm, first)
        assert ways[second][vm.uuid] == "10.9.0.1"
        await here.api.done("StopVmInstance", uuid=vm.uuid)
        stopped = await refused(here.api.call("MigrateVm", **call))
        assert (stopped.code, stopped.reason) == ("FAILED_PRECONDITION", "WRONG_STATE")

    on_ground(tmp_path, body, hosts=2, shared=True)


@pytest.mark.parametrize("task", ["ApplyDhcpTask", "PrepareMigrationTask", "MigrateVmTask"])
def test_one_that_fails_leaves_it_where_it_was(task: str, tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create(data_disk_sizes=[GIB])
        here.order(task)
        job = await here.failed("MigrateVm", vm_instance_uuid=vm.uuid)
        assert "as ordered" in job.error
        await all_at(here, vm, vm.host_uuid)
        await here.api.done("MigrateVm", vm_instance_uuid=vm.uuid)
        assert where(here, vm.uuid) != [vm.host_uuid]

    on_ground(tmp_path, body, hosts=2, shared=True)


def test_what_lies_on_one_host_stays_there(tmp_path: Path) -> None:
    """PS-06: a local disk ties its VM; a host that lacks what the VM needs is named with the reason."""

    async def body(here: Ground) -> None:
        vm = await here.create()
        error = await refused(here.api.call("MigrateVm", vm_instance_uuid=vm.uuid))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NOT_SUPPORTED")
        assert vm.host_uuid in error.message

    on_ground(tmp_path, body, hosts=2)
