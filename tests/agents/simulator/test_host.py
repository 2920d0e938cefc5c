"""The rules of a simulated host are those of a real one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message

from agents.runtime.task import TaskError, Work
from agents.simulator.faults import Faults
from agents.simulator.host import HANDLERS, SimulatedHost
from zcloud.v1 import (
    agent_pb2,
    host_task_pb2,
    image_task_pb2,
    network_task_pb2,
    primary_storage_task_pb2,
    vm_instance_task_pb2,
    volume_snapshot_task_pb2,
    volume_task_pb2,
)
from zcloud.v1.host_task_pb2 import ConnectHostTask
from zcloud.v1.image_task_pb2 import CacheImageTask, DeleteCachedImageTask
from zcloud.v1.network_task_pb2 import (
    ApplyDhcpTask,
    ApplyL2NetworkTask,
    ReleaseDhcpTask,
    RemoveDhcpTask,
    RemoveL2NetworkTask,
)
from zcloud.v1.primary_storage_task_pb2 import PrepareLocalStorageTask
from zcloud.v1.vm_instance_task_pb2 import (
    PauseVmTask,
    ReadVmTask,
    RebootVmTask,
    ResumeVmTask,
    StartVmTask,
    StopVmTask,
    VmSpec,
)
from zcloud.v1.volume_task_pb2 import CreateRootVolumeTask, DeleteVolumeTask

IMAGE, ROOT, GIB = "/ps/cache/image-1", "/ps/volumes/root-1", 1 << 30
# What only the node's own agent does.
NODES_OWN = {"DeployKvmAgentTask", "RemoveKvmAgentTask", "DownloadImageTask", "DeleteImageTask"}


def spec(uuid: str = "vm-1", path: str = ROOT, memory: int = GIB) -> VmSpec:
    return VmSpec(
        vm_instance_uuid=uuid,
        cpu_num=1,
        memory_size=memory,
        disks=[{"volume_uuid": f"v-{path}", "path": path}],
        interfaces=[{"nic_uuid": "nic-1", "mac": "fa:00:00:00:00:01", "bridge": "br0"}],
    )


def volume(path: str = ROOT, backing: str = IMAGE) -> CreateRootVolumeTask:
    return CreateRootVolumeTask(volume_uuid=f"v-{path}", path=path, backing_path=backing, size=GIB)


CACHE = CacheImageTask(cache_path=IMAGE, actual_size=100)
BRIDGE = ApplyL2NetworkTask(l2_network_uuid="l2", bridge="br0", physical_interface="eth1")


class Machine:
    """A host whose tasks are called as functions."""

    def __init__(self, **options: Any) -> None:
        self.host = SimulatedHost("host-1", **options)
        self.world = self.host.world
        self.handlers = {h.task: h for h in self.host.handlers()}

    def do(self, *tasks: Message, aborted: bool = False) -> Any:
        """The result of the last."""
        result = None
        for task in tasks:
            work = Work("task-1", "resource-1", 1, lambda percent, detail: None)
            if aborted:
                work.aborted.set()
            result = asyncio.run(self.handlers[type(task)].run(task, work))
        return result

    def refuses(self, task: Message, reason: str, words: str | None = None) -> None:
        """The task fails for this reason and changes nothing."""
        before = repr(self.world)
        with pytest.raises(TaskError, match=words) as refusal:
            self.do(task)
        assert refusal.value.reason == reason
        assert repr(self.world) == before

    def states(self) -> dict[str, str]:
        return {vm.vm_instance_uuid: vm.state for vm in asyncio.run(self.host.inventory()).vms}


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.do(CACHE, BRIDGE, volume())
    return machine


def test_there_is_a_handler_for_each_task_of_hosts() -> None:
    modules = (
        host_task_pb2,
        image_task_pb2,
        network_task_pb2,
        primary_storage_task_pb2,
        vm_instance_task_pb2,
        volume_snapshot_task_pb2,
        volume_task_pb2,
    )
    names = {name for module in modules for name in module.DESCRIPTOR.message_types_by_name if name.endswith("Task")}
    assert names - NODES_OWN == {handler.task.DESCRIPTOR.name for handler in HANDLERS}
    for handler in HANDLERS:
        assert handler.result.DESCRIPTOR.name == handler.task.DESCRIPTOR.name.removesuffix("Task") + "Result"


def test_the_life_of_a_vm(machine: Machine) -> None:
    start, pause = StartVmTask(spec=spec()), PauseVmTask(vm_instance_uuid="vm-1")
    for _ in range(2):
        assert machine.do(start).state == "Running"
    assert machine.do(pause, pause, ReadVmTask(vm_instance_uuid="vm-1")).state == "Paused"
    assert machine.states() == {"vm-1": "Paused"}
    resume = ResumeVmTask(vm_instance_uuid="vm-1")
    machine.do(resume, resume, RebootVmTask(spec=spec()))
    assert machine.states() == {"vm-1": "Running"}
    assert not machine.do(StopVmTask(vm_instance_uuid="vm-1", grace_seconds=5)).forced
    assert not machine.do(StopVmTask(vm_instance_uuid="vm-1")).forced
    assert machine.do(ReadVmTask(vm_instance_uuid="vm-1")).state == "Stopped"
    assert machine.states() == {}
    assert machine.do(StartVmTask(spec=spec(), paused=True)).state == "Paused"
    assert machine.do(StopVmTask(vm_instance_uuid="vm-1", grace_seconds=5)).forced, "it cannot hear the request"


def test_a_vm_starts_only_when_all_it_needs_is_there(machine: Machine) -> None:
    machine.refuses(StartVmTask(spec=spec(path="/ps/volumes/never-made")), "NOT_FOUND", "never-made")
    machine.do(RemoveL2NetworkTask(bridge="br0"))
    machine.refuses(StartVmTask(spec=spec()), "NOT_FOUND", "no bridge br0")
    machine.do(BRIDGE)
    machine.refuses(StartVmTask(spec=VmSpec(vm_instance_uuid="vm-1")), "INVALID", "no disk")
    machine.refuses(StartVmTask(spec=spec(memory=257 * GIB)), "NO_SPACE", "memory")
    machine.do(StartVmTask(spec=spec(memory=200 * GIB)), volume("/ps/volumes/root-2"))
    machine.refuses(StartVmTask(spec=spec("vm-2")), "REFUSED", "in use by VM vm-1")
    machine.refuses(StartVmTask(spec=spec("vm-2", "/ps/volumes/root-2", 57 * GIB)), "NO_SPACE")
    machine.do(StartVmTask(spec=spec("vm-2", "/ps/volumes/root-2", 56 * GIB)))
    assert machine.states() == {"vm-1": "Running", "vm-2": "Running"}


def test_what_is_not_alive_cannot_be_paused(machine: Machine) -> None:
    machine.refuses(PauseVmTask(vm_instance_uuid="vm-1"), "NOT_FOUND")
    machine.refuses(ResumeVmTask(vm_instance_uuid="vm-1"), "NOT_FOUND")
    machine.do(StartVmTask(spec=spec()))
    machine.world.guest_crashes("vm-1")
    machine.refuses(PauseVmTask(vm_instance_uuid="vm-1"), "REFUSED", "Crashed")
    assert machine.do(StartVmTask(spec=spec())).state == "Running", "a crashed VM can be started"


def test_what_is_in_use_stays(machine: Machine) -> None:
    machine.do(StartVmTask(spec=spec()))
    machine.refuses(DeleteVolumeTask(path=ROOT), "REFUSED", "vm-1")
    machine.refuses(DeleteCachedImageTask(cache_path=IMAGE), "REFUSED", ROOT)
    machine.refuses(RemoveL2NetworkTask(bridge="br0"), "REFUSED", "vm-1")
    machine.do(StopVmTask(vm_instance_uuid="vm-1", cold=True))
    for _ in range(2):
        machine.do(DeleteVolumeTask(path=ROOT), DeleteCachedImageTask(cache_path=IMAGE))
        machine.do(RemoveL2NetworkTask(bridge="br0"))
    assert (machine.world.volumes, machine.world.cache, machine.world.bridges) == ({}, {}, {})


def test_a_root_volume_needs_its_image_and_its_own_path(machine: Machine) -> None:
    machine.refuses(volume("/ps/volumes/root-2", "/ps/cache/never-cached"), "NOT_FOUND", "never-cached")
    machine.do(volume())
    other = CreateRootVolumeTask(volume_uuid="other", path=ROOT, backing_path=IMAGE, size=GIB)
    machine.refuses(other, "REFUSED", "already")


def test_disk_is_finite_and_measured() -> None:
    machine = Machine(disk_size=10 * GIB)
    before = machine.do(PrepareLocalStorageTask(url="/ps"))
    assert (before.total_capacity, before.available_capacity) == (10 * GIB, 10 * GIB)
    machine.refuses(PrepareLocalStorageTask(url="ps"), "INVALID", "'ps'")
    machine.do(CacheImageTask(cache_path="/a", actual_size=6 * GIB))
    machine.do(CacheImageTask(cache_path="/a", actual_size=6 * GIB))
    machine.refuses(CacheImageTask(cache_path="/b", actual_size=5 * GIB), "NO_SPACE")
    assert machine.do(PrepareLocalStorageTask(url="/ps")).available_capacity == 4 * GIB
    inventory = asyncio.run(machine.host.inventory())
    assert (inventory.local_storage_total, inventory.local_storage_available) == (10 * GIB, 4 * GIB)
    machine.do(CacheImageTask(cache_path="/b", actual_size=4 * GIB))
    machine.refuses(volume("/v", "/a"), "NO_SPACE")


def test_bridges_and_dhcp(machine: Machine) -> None:
    machine.do(BRIDGE)
    machine.refuses(ApplyL2NetworkTask(bridge="br1", physical_interface="eth1"), "INVALID", "eth1")
    machine.refuses(ApplyL2NetworkTask(bridge="br0", physical_interface="eth2"), "INVALID", "eth1")
    machine.refuses(ApplyDhcpTask(l3_network_uuid="l3", bridge="br9"), "NOT_FOUND", "br9")
    for mac, ip in (("m1", "10.0.0.5"), ("m2", "10.0.0.6"), ("m1", "10.0.0.7")):
        machine.do(ApplyDhcpTask(l3_network_uuid="l3", bridge="br0", entries=[{"mac": mac, "ip": ip}]))
    assert {m: e.ip for m, e in machine.world.dhcp["l3"].entries.items()} == {"m1": "10.0.0.7", "m2": "10.0.0.6"}
    release = ReleaseDhcpTask(l3_network_uuid="l3", macs=["m1", "m9"])
    machine.do(release, release, ReleaseDhcpTask(l3_network_uuid="nowhere", macs=["m1"]))
    assert list(machine.world.dhcp["l3"].entries) == ["m2"]
    machine.do(RemoveDhcpTask(l3_network_uuid="l3"), RemoveDhcpTask(l3_network_uuid="l3"))
    assert machine.world.dhcp == {}


def test_connect_says_what_there_is(machine: Machine) -> None:
    machine.do(StartVmTask(spec=spec()))
    result = machine.do(ConnectHostTask(host_uuid="host-1"))
    assert (result.cpu_num, result.memory_size) == (64, 256 * GIB)
    assert [(vm.vm_instance_uuid, vm.state) for vm in result.vms] == [("vm-1", "Running")]


def test_a_dead_hypervisor_answers_nothing_and_its_vms_are_there_when_it_is_back(machine: Machine) -> None:
    machine.do(StartVmTask(spec=spec()))
    machine.world.hypervisor_error = "libvirtd is gone"
    assert machine.host.hypervisor_error() == "libvirtd is gone"
    for task in (
        StartVmTask(spec=spec()),
        StopVmTask(vm_instance_uuid="vm-1"),
        ReadVmTask(vm_instance_uuid="vm-1"),
        PauseVmTask(vm_instance_uuid="vm-1"),
        RebootVmTask(spec=spec()),
        ConnectHostTask(),
    ):
        machine.refuses(task, "UNREACHABLE", "libvirtd is gone")
    with pytest.raises(TaskError):
        asyncio.run(machine.host.inventory())
    machine.world.hypervisor_error = ""
    assert machine.states() == {"vm-1": "Running"}


def test_what_a_guest_does_by_itself_is_told(machine: Machine) -> None:
    machine.do(StartVmTask(spec=spec()))
    machine.world.guest_crashes("vm-1")
    machine.world.guest_powers_off("vm-1")
    told: list[agent_pb2.HostInventory] = [machine.host.changes.get_nowait() for _ in range(2)]
    assert [(i.complete, i.vms[0].vm_instance_uuid, i.vms[0].state) for i in told] == [
        (False, "vm-1", "Crashed"),
        (False, "vm-1", "Stopped"),
    ]
    assert machine.states() == {}


def test_ordered_faults_come_first_and_faults_by_chance_as_often_as_told() -> None:
    chances = iter([0.19, 0.2, 0.9])
    faults = Faults({"CacheImageTask": 20}, chance=lambda: next(chances))
    machine = Machine(faults=faults)
    faults.order("CacheImageTask", TaskError("NO_SPACE", "full, as ordered"), times=2)
    machine.refuses(CACHE, "NO_SPACE", "as ordered")
    machine.refuses(CACHE, "NO_SPACE", "as ordered")
    machine.refuses(CACHE, "FAILED", "CacheImageTask")
    machine.do(CACHE, CACHE)


def test_a_delayed_task_can_be_given_up_before_its_effect() -> None:
    machine = Machine(delay=3600)
    with pytest.raises(TaskError) as refusal:
        machine.do(CACHE, aborted=True)
    assert refusal.value.reason == "ABORTED"
    assert machine.world.cache == {}
    quick = Machine(delay=0.001)
    quick.do(CACHE)
    assert quick.world.cache == {IMAGE: 100}
