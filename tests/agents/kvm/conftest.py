"""A host for the tests of VMs: one private libvirtd, one bridge with DHCP and the handlers of an agent, per module."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from agents.kvm.hypervisor import Hypervisor
from agents.kvm.main import kvm_handlers
from agents.kvm.private_libvirtd import PrivateLibvirtd
from agents.runtime.task import Handler, TaskError
from tests.agents.network.lan import Lan, new_lan
from tests.support import tasks
from tests.support.libvirtd import guest_disk, running_libvirtd
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.network_task_pb2 import ApplyDhcpTask, ApplyL2NetworkTask, DhcpEntry, RemoveDhcpTask
from zcloud.v1.vm_instance_task_pb2 import ReadVmTask, StartVmTask, StopVmTask, VmDisk, VmInterface, VmSpec

MIB = 2**20
# A guest under emulation on a machine that is busy with other tests.
PATIENCE = 240.0


def eventually(done: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        if time.monotonic() > end:
            pytest.fail(f"never came about: {what}")
        time.sleep(0.05)
    return found


class Host:
    """An agent's handlers by task, and what its hypervisor said."""

    def __init__(self, daemon: PrivateLibvirtd, lan: Lan, folder: Path) -> None:
        self.daemon, self.lan, self.folder = daemon, lan, folder
        self.uuid, self.l3 = uuid.uuid4().hex, uuid.uuid4().hex
        self.seen: list[HostInventory] = []
        self.hypervisor = Hypervisor(daemon.uri, ping_seconds=0.5)
        self.hypervisor.subscribe(self.seen.append)
        made = kvm_handlers(self.hypervisor, self.uuid, folder)
        self.handlers: dict[type[Message], Handler[Any, Any]] = {handler.task: handler for handler in made}

    def run(self, task: Message) -> Any:
        return tasks.run(self.handlers[type(task)], task)

    def probe(self, task: Message) -> Any:
        return tasks.probe(self.handlers[type(task)], task)

    def failure(self, task: Message) -> TaskError:
        return tasks.failure(self.handlers[type(task)], task)

    def state(self, vm: str) -> str:
        return str(self.run(ReadVmTask(vm_instance_uuid=vm)).state)

    def serial(self, vm: str) -> str:
        path = self.folder / "vms" / vm / "serial.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def blank(self, **changes: Any) -> VmSpec:
        """A VM with nothing on its disk: quick to make, deaf to its power button."""
        vm = uuid.uuid4().hex
        disk = self.folder / f"{vm}.raw"
        with open(disk, "wb") as file:
            file.truncate(MIB)
        fields = {"disks": [VmDisk(volume_uuid=vm, path=str(disk), format="raw")]}
        return self._spec(vm, **(fields | changes))

    def guest(self) -> VmSpec:
        """A VM with a system, known to DHCP; its address is in the last interface's place."""
        vm = uuid.uuid4().hex
        disk = guest_disk(self.folder / f"{vm}.qcow2")
        nic = VmInterface(nic_uuid=uuid.uuid4().hex, mac=f"02:{vm[:2]}:{vm[2:4]}:00:00:01", bridge=self.lan.bridge)
        return self._spec(
            vm, disks=[VmDisk(volume_uuid=vm, path=str(disk), format="qcow2")], interfaces=[nic], memory_size=128 * MIB
        )

    def _spec(self, vm: str, **changes: Any) -> VmSpec:
        fields = {"name": "web", "cpu_num": 1, "memory_size": 64 * MIB, "platform": "Linux"}
        return VmSpec(vm_instance_uuid=vm, **(fields | changes))

    def serve_dhcp(self, spec: VmSpec, address: str) -> None:
        entry = DhcpEntry(mac=spec.interfaces[0].mac, ip=address, hostname="web", gateway="10.96.0.1")
        entry.netmask = "255.255.255.0"
        task = ApplyDhcpTask(l3_network_uuid=self.l3, bridge=self.lan.bridge, server_address="10.96.0.2/24")
        task.entries.append(entry)
        self.run(task)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with running_libvirtd() as daemon, new_lan(folder) as lan:
        made = Host(daemon, lan, folder)
        made.hypervisor.start()
        try:
            eventually(lambda: not made.hypervisor.error(), "libvirt answers")
            made.run(
                ApplyL2NetworkTask(l2_network_uuid=lan.l2, bridge=lan.bridge, physical_interface=lan.device),
            )
            subprocess.run(["ip", "-netns", lan.namespace, "address", "add", "10.96.0.1/24", "dev", "eth0"], check=True)
            yield made
        finally:
            made.run(RemoveDhcpTask(l3_network_uuid=made.l3, bridge=lan.bridge))
            made.hypervisor.close()


@pytest.fixture
def started(host: Host) -> Iterator[Callable[..., VmSpec]]:
    """Starts blank VMs with their CPUs stopped, which costs next to nothing; takes their power away afterwards."""
    vms: list[str] = []

    def start(**changes: Any) -> VmSpec:
        spec = host.blank(**changes)
        vms.append(spec.vm_instance_uuid)
        host.run(StartVmTask(spec=spec, paused=True))
        return spec

    yield start
    for vm in vms:
        host.run(StopVmTask(vm_instance_uuid=vm, cold=True))
