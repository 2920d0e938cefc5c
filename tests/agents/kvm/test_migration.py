"""A guest under a real QEMU goes on under another libvirtd, with its disk on a file system that both see (VM-38)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.kvm.hypervisor import Hypervisor
from agents.kvm.main import kvm_handlers
from agents.kvm.migration import reached_by
from tests.agents.kvm.conftest import Host, eventually
from tests.support import tasks
from tests.support.libvirtd import running_libvirtd
from zcloud.v1.vm_instance_task_pb2 import (
    MigrateVmTask,
    PrepareMigrationTask,
    ReadVmTask,
    StartVmTask,
    StopVmTask,
    VmDisk,
)

pytestmark = pytest.mark.real
ADDRESS = "127.0.0.1"


class Other:
    """One more host: a libvirtd and an agent's handlers of its own."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.hypervisor = Hypervisor(uri, ping_seconds=0.5)
        self.handlers = {handler.task: handler for handler in kvm_handlers(self.hypervisor, "b" * 32, folder)}

    def run(self, task: object) -> object:
        return tasks.run(self.handlers[type(task)], task)  # type: ignore[index, arg-type]

    def state(self, vm: str) -> str:
        return str(self.run(ReadVmTask(vm_instance_uuid=vm)).state)  # type: ignore[attr-defined]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    with running_libvirtd() as daemon:
        made = Other(daemon.uri, tmp_path)
        made.hypervisor.start()
        with contextlib.closing(made.hypervisor):
            eventually(lambda: not made.hypervisor.error(), "the other libvirt answers")
            yield made


def test_it_runs_on_there(host: Host, other: Other) -> None:
    spec = host.blank()
    vm = spec.vm_instance_uuid
    missing = PrepareMigrationTask(spec=spec, address=ADDRESS)
    missing.spec.disks.append(VmDisk(volume_uuid="e" * 32, path="/nowhere.qcow2", format="qcow2", device_id=1))
    assert tasks.failure(other.handlers[PrepareMigrationTask], missing).reason == "NOT_FOUND"
    gone = MigrateVmTask(vm_instance_uuid=vm, uri="qemu+unix:///system?socket=/nowhere", address=ADDRESS)
    uri = other.run(PrepareMigrationTask(spec=spec, address=ADDRESS)).uri  # type: ignore[attr-defined]
    send = MigrateVmTask(vm_instance_uuid=vm, uri=uri, address=ADDRESS)
    assert host.failure(send).reason == "NOT_FOUND"
    host.run(StartVmTask(spec=spec))
    try:
        assert host.failure(gone).reason == "UNREACHABLE"
        assert host.state(vm) == "Running"
        for _ in range(2):  # done again, it is done
            host.run(send)
            assert (host.state(vm), other.state(vm)) == ("Stopped", "Running")
    finally:
        host.run(StopVmTask(vm_instance_uuid=vm, cold=True))
        other.run(StopVmTask(vm_instance_uuid=vm, cold=True))


def test_how_a_hypervisor_is_reached() -> None:
    assert reached_by("qemu:///system", "10.0.0.7") == "qemu+tls://10.0.0.7/system"
    own = "qemu+unix:///system?socket=/run/x"
    assert reached_by(own, "10.0.0.7") == own
