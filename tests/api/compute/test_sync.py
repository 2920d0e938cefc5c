"""What hosts say of VMs: lost and back, gone, come by themselves, strangers, deleted ones that run (behaviours 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.simulator.world import Vm
from tests.api.compute.ground import GIB, Ground, on_ground
from tests.support.cloud import host_connected, simulated_hosts, until
from zcloud.domain.compute.strangers import HostStrangers
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit
from zcloud.v1.vm_instance_task_pb2 import VmSpec


def report(here: Ground, host: int = 0) -> None:
    """Let a host say all that it has."""
    simulated = here.hosts[host]
    here.api.node.hosts.observed(simulated.host_uuid, simulated.world.inventory())


async def settled(here: Ground) -> None:
    """No job is at work on anything."""

    async def look() -> bool:
        jobs = await here.api.call(
            "QueryJob", filter="state = Running OR state = Waiting OR state = Undoing", count=True
        )
        return bool(jobs.total == 0)

    await until(look)


def test_a_lost_host_and_its_return(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        runs = await here.create(name="runs")
        paused = await here.create(name="paused", strategy="CREATED_PAUSED")
        gone = await here.create(name="gone")
        stopped = await here.create(name="stopped", strategy="CREATE_STOPPED")
        deleted = await here.create(name="deleted")
        await api.done("DeleteVmInstance", uuid=deleted.uuid)
        books = await here.books()
        await here.fleet.stop()
        for vm in (runs, paused, gone):
            read = await here.becomes(vm.uuid, "UNKNOWN")
            assert (read.host_uuid, read.version) == (here.host.host_uuid, 1)
            assert "connection to its agent was lost" in read.state_reason
        assert await here.state(stopped.uuid) == "STOPPED"
        assert await here.state(deleted.uuid) == "DESTROYED"
        assert await here.books() == books, "what may run keeps what it has"

        job = await here.failed("StopVmInstance", uuid=runs.uuid)
        assert "not Connected" in job.error
        assert await here.state(runs.uuid) == "UNKNOWN"
        error_job = await here.failed("DeleteVmInstance", uuid=runs.uuid)
        assert "not Connected" in error_job.error
        assert await here.state(runs.uuid) == "UNKNOWN"

        here.host.world.vms.pop(gone.uuid)
        async with simulated_hosts(api, here.host):
            await host_connected(api, here.host.host_uuid)
            await here.becomes(runs.uuid, "RUNNING")
            await here.becomes(paused.uuid, "PAUSED")
            read = await here.becomes(gone.uuid, "STOPPED")
            assert (read.host_uuid, read.last_host_uuid) == ("", here.host.host_uuid)
            assert "does not have it" in read.state_reason
            assert (await here.books())["cpu"].keys() == {runs.uuid, paused.uuid}
            await settled(here)
            await api.done("StartVmInstance", uuid=gone.uuid)

    on_ground(tmp_path, body)


def test_a_dead_hypervisor_and_its_return(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        node = here.api.node
        here.host.world.hypervisor_error = "libvirtd is dead"
        node.hosts.hypervisor(here.host.host_uuid, "libvirtd is dead")
        read = await here.becomes(vm.uuid, "UNKNOWN")
        assert "libvirtd is dead" in read.state_reason
        here.host.world.hypervisor_error = ""
        node.hosts.hypervisor(here.host.host_uuid, "")
        await here.becomes(vm.uuid, "RUNNING")
        await host_connected(here.api, here.host.host_uuid)

    on_ground(tmp_path, body)


def test_guests_that_act_by_themselves(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        off, crashed = await here.create(name="off"), await here.create(name="crashed")
        world = here.host.world
        world.guest_powers_off(off.uuid)
        read = await here.becomes(off.uuid, "STOPPED")
        assert (read.host_uuid, read.version) == ("", 1)
        assert read.state_reason
        world.guest_crashes(crashed.uuid)
        await here.becomes(crashed.uuid, "CRASHED")
        assert (await here.books())["cpu"].keys() == {crashed.uuid}
        await settled(here)
        await here.api.done("StartVmInstance", uuid=crashed.uuid)
        assert (await here.state(crashed.uuid), world.vms[crashed.uuid].state) == ("RUNNING", "Running")

        # started behind our back: recorded, and booked
        spec = VmSpec(vm_instance_uuid=off.uuid, memory_size=GIB)
        world.vms[off.uuid] = Vm(spec, "Running")
        report(here)
        read = await here.becomes(off.uuid, "RUNNING")
        assert read.host_uuid == here.host.host_uuid
        assert (await here.books())["cpu"][off.uuid] == (here.host.host_uuid, 1, GIB)

        # vanished: a complete report does not name it
        world.vms.pop(off.uuid)
        report(here)
        read = await here.becomes(off.uuid, "STOPPED")
        assert "does not have it" in read.state_reason
        assert (await here.books())["cpu"].keys() == {crashed.uuid}

    on_ground(tmp_path, body)


def test_nothing_new_is_no_event(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        await settled(here)
        head = here.api.node.cloud.log.head
        taken: list[Any] = []
        take = here.api.node.hosts._take

        async def watched(host_uuid: str, inventory: Any) -> None:
            await take(host_uuid, inventory)
            taken.append(inventory)

        here.api.node.hosts._take = watched  # type: ignore[method-assign]
        for _ in range(3):
            report(here)

        async def all_taken() -> bool:
            return len(taken) == 3

        await until(all_taken)
        assert here.api.node.cloud.log.head == head
        assert await here.state(vm.uuid) == "RUNNING"

    on_ground(tmp_path, body)


def test_a_stranger_is_told_of_once(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        stranger = "f" * 32
        here.host.world.vms[stranger] = Vm(VmSpec(vm_instance_uuid=stranger), "Running")

        async def seen() -> list[Any]:
            stream = HostStrangers.stream_of(here.host.host_uuid)
            return list(here.api.node.recorder.read_stream(stream))

        report(here)
        await until(seen)
        report(here)
        await here.create()
        assert len(await seen()) == 1
        unit = Unit(here.api.node.cloud, Context(), 0)
        assert (await unit.companion_of(HostStrangers, here.host.host_uuid)).vm_instance_uuids == (stranger,)
        assert stranger in here.host.world.vms, "nothing is done to it"

    on_ground(tmp_path, body)


def test_what_is_deleted_may_not_run(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        spec = here.host.world.vms[vm.uuid].spec
        await here.api.done("DeleteVmInstance", uuid=vm.uuid)
        here.host.world.vms[vm.uuid] = Vm(spec, "Running")
        report(here)

        async def dead() -> bool:
            return vm.uuid not in here.host.world.vms

        await until(dead)
        assert await here.state(vm.uuid) == "DESTROYED"

    on_ground(tmp_path, body)
