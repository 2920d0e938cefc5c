"""What was written to real disks is there again after a revert, whatever is deleted below it (SNP-01, SNP-03)."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.e2e.lab import JOB_SECONDS, Lab

pytestmark = pytest.mark.real
GIB = 1 << 30
# Far behind the guest's own files.
PLACE = "96M"


def path_of(lab: Lab, volume: str) -> str:
    return str(lab.admin.call("GetVolume", uuid=volume).inventory.install_path)


def qemu_io(lab: Lab, volume: str, command: str) -> str:
    argv = ["qemu-io", "-f", "qcow2", "-c", command, path_of(lab, volume)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def write(lab: Lab, volume: str, pattern: int) -> None:
    assert "wrote 65536" in qemu_io(lab, volume, f"write -P {pattern} {PLACE} 64k")


def holds(lab: Lab, volume: str, pattern: int) -> bool:
    told = qemu_io(lab, volume, f"read -P {pattern} {PLACE} 64k")
    assert "read 65536" in told
    return "Pattern verification failed" not in told


def test_snapshots_of_a_real_machine(lab: Lab) -> None:
    created = lab.create_vm("captured")
    job = lab.admin.wait(created.job_uuid, JOB_SECONDS)
    assert job.state == job.STATE_SUCCEEDED, job
    vm = lab.vm(created.inventory.uuid)
    root = vm.root_volume_uuid
    assert lab.answers(vm.vm_nics[0].ip)
    lab.done("ResizeRootVolume", uuid=root, size=256 << 20)
    data = lab.done("CreateDataVolume", name="data", disk_size=GIB).uuid
    lab.done("AttachDataVolumeToVm", volume_uuid=data, vm_instance_uuid=vm.uuid)
    running = lab.done("CreateVolumeSnapshotGroup", vm_instance_uuid=vm.uuid, name="running")
    # The guest goes on on its new files.
    assert lab.answers(vm.vm_nics[0].ip)
    lab.done("DetachDataVolumeFromVm", uuid=data)
    lab.done("AttachDataVolumeToVm", volume_uuid=data, vm_instance_uuid=vm.uuid)
    lab.done("StopVmInstance", uuid=vm.uuid, type="cold")

    for volume in (root, data):
        write(lab, volume, 1)
    kept = lab.done("CreateVolumeSnapshotGroup", root_volume_uuid=root, name="kept")
    for volume in (root, data):
        write(lab, volume, 2)
    lab.done("RevertVmFromSnapshotGroup", uuid=kept.uuid)
    assert all(holds(lab, volume, 1) for volume in (root, data))
    assert not any(holds(lab, volume, 2) for volume in (root, data))

    lab.done("DeleteVolumeSnapshotGroup", uuid=running.uuid)
    assert all(holds(lab, volume, 1) for volume in (root, data))
    write(lab, root, 3)
    last = [m.volume_snapshot_uuid for m in kept.members if m.volume_uuid == root]
    lab.done("RevertVolumeFromSnapshot", uuid=last[0], start_after=True)
    end = time.monotonic() + JOB_SECONDS
    while not lab.domains():
        assert time.monotonic() < end
        time.sleep(0.2)
    assert lab.answers(vm.vm_nics[0].ip)
    # Merged while the guest runs.
    lab.done("DeleteVolumeSnapshotGroup", uuid=kept.uuid)
    assert lab.answers(vm.vm_nics[0].ip)
    lab.done("DeleteVmInstance", uuid=vm.uuid)
    assert holds(lab, root, 1)
    lab.done("ExpungeVmInstance", uuid=vm.uuid)
    lab.done("DeleteDataVolume", uuid=data)
    lab.done("ExpungeDataVolume", uuid=data)
    assert not [path for path in (lab.directory / "ps").rglob("*.qcow2") if "vol-" in str(path)]
