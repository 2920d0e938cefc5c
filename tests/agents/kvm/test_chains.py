"""Volumes under a real QEMU: plugged in, grown, frozen, merged and put back while it has them open (VOL-10, SNP-01)."""

from __future__ import annotations

import shlex
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.storage.paths import variables_of
from tests.agents.kvm.conftest import MIB, Host
from zcloud.v1.vm_instance_task_pb2 import StopVmTask, VmDisk, VmSpec
from zcloud.v1.volume_snapshot_task_pb2 import (
    CommitVolumeTask,
    DeleteVolumeFilesTask,
    PullVolumeTask,
    RevertedVolume,
    RevertVolumesTask,
    SnapshotDisk,
    TakeSnapshotsTask,
    UndoSnapshotsTask,
    VolumeFile,
)
from zcloud.v1.volume_task_pb2 import (
    AttachVolumeTask,
    CopyVolumesTask,
    CreateDataVolumeTask,
    DeleteVolumeTask,
    ReadVolumeTask,
    ResizeVolumeTask,
    VolumeCopy,
)

pytestmark = pytest.mark.real
SIZE = 16 * MIB


class Disk:
    """A volume and the VM that has it open. Blocks of 64 KiB are written by QEMU itself, as for its guest."""

    def __init__(self, host: Host) -> None:
        self.host, self.uuid, self.vm = host, uuid.uuid4().hex, ""
        self.folder = host.folder / f"vol-{self.uuid}"
        host.run(CreateDataVolumeTask(volume_uuid=self.uuid, path=self.path("0"), size=SIZE))

    def path(self, name: str) -> str:
        return str(self.folder / f"{name}.qcow2")

    def virsh(self, *argv: str) -> str:
        made = ["virsh", "-q", "-c", self.host.daemon.uri, *argv]
        return subprocess.run(made, capture_output=True, text=True, check=True).stdout

    def write(self, block: int, device: str = "virtio-disk0") -> None:
        """The block is filled with its own number, plus one."""
        command = f'qemu-io -d /machine/peripheral/{device}/virtio-backend "write -P {block + 1} {block * 64}k 64k"'
        told = self.virsh("qemu-monitor-command", self.vm, "--hmp", command)
        assert "wrote 65536" in told or not told.strip(), told
        # Others find it in the file only when QEMU has written all that says where it is.
        self.virsh("qemu-monitor-command", self.vm, "--hmp", command.replace(command.split('"')[1], "flush"))

    def blocks(self, name: str) -> list[int]:
        """Which of the first blocks are filled, as found through a file and those below."""
        found = []
        for block in range(8):
            argv = shlex.split(f"qemu-io -U -r -f qcow2 -c 'read -P {block + 1} {block * 64}k 64k'")
            told = subprocess.run([*argv, self.path(name)], capture_output=True, text=True, check=False)
            assert "read 65536" in told.stdout, told
            if "Pattern verification failed" not in told.stdout:
                found.append(block)
        return found

    def names(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*")}

    def freeze(self, old: str, new: str) -> TakeSnapshotsTask:
        disk = SnapshotDisk(volume_uuid=self.uuid, path=self.path(old), new_path=self.path(new), format="qcow2")
        return TakeSnapshotsTask(vm_instance_uuid=self.vm, disks=[disk], quiesce=True)

    def undo(self, old: str, new: str) -> UndoSnapshotsTask:
        return UndoSnapshotsTask(vm_instance_uuid=self.vm, disks=self.freeze(old, new).disks)

    def pull(self, name: str, base: str = "") -> PullVolumeTask:
        below = {"base_path": self.path(base), "base_format": "qcow2"} if base else {}
        return PullVolumeTask(vm_instance_uuid=self.vm, volume_uuid=self.uuid, path=self.path(name), **below)

    def commit(self, active: str, name: str, base: str, *above: str) -> CommitVolumeTask:
        return CommitVolumeTask(
            vm_instance_uuid=self.vm,
            volume_uuid=self.uuid,
            active_path=self.path(active),
            path=self.path(name),
            base_path=self.path(base),
            above=[self.path(one) for one in above],
        )


@pytest.fixture
def disk(host: Host, started: Callable[..., VmSpec]) -> Disk:
    made = Disk(host)
    plug = VmDisk(volume_uuid=made.uuid, path=made.path("0"), format="qcow2")
    made.vm = started(disks=[plug]).vm_instance_uuid
    return made


def test_snapshots_of_a_guest_that_runs(disk: Disk) -> None:
    host = disk.host
    disk.write(0)
    for _ in range(2):  # done again, it is done
        assert host.run(disk.freeze("0", "1")).files[0].size > 0
    disk.write(1)
    host.run(disk.freeze("1", "2"))
    disk.write(2)
    host.run(disk.freeze("2", "3"))
    disk.write(3)
    assert [disk.blocks(name) for name in "0123"] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    # The one that was not to be: what was written since is kept.
    host.run(disk.freeze("3", "4"))
    disk.write(4)
    for _ in range(2):
        host.run(disk.undo("3", "4"))
    assert disk.names() == {"0", "1", "2", "3"}
    disk.write(5)
    assert disk.blocks("3") == [0, 1, 2, 3, 4, 5]
    # The second goes: what lies on it takes its place.
    for _ in range(2):
        host.run(disk.commit("3", "2", "1", "3"))
    assert disk.names() == {"0", "1", "3"}
    assert [disk.blocks(name) for name in "01"] == [[0], [0, 1, 2]]
    # The newest goes: the file that is written to takes in what it needs.
    for _ in range(2):
        host.run(disk.pull("3", "0"))
    files = [VolumeFile(volume_uuid=disk.uuid, path=disk.path("1"))]
    host.run(DeleteVolumeFilesTask(files=files))
    disk.write(6)
    assert disk.blocks("3") == [0, 1, 2, 3, 4, 5, 6]
    host.run(disk.pull("3"))
    host.run(StopVmTask(vm_instance_uuid=disk.vm, cold=True))
    back = RevertedVolume(volume_uuid=disk.uuid, snapshot_path=disk.path("0"), snapshot_format="qcow2", size=SIZE)
    back.path = disk.path("back")
    for _ in range(2):
        host.run(RevertVolumesTask(volumes=[back]))
    assert (disk.blocks("back"), disk.blocks("3")) == ([0], [0, 1, 2, 3, 4, 5, 6])
    gone = DeleteVolumeTask(volume_uuid=disk.uuid, path=disk.path("back"))
    gone.more_paths.extend([disk.path("0"), disk.path("3")])
    host.run(gone)
    assert not disk.folder.exists()


def test_snapshots_of_a_guest_that_is_stopped(disk: Disk) -> None:
    """The same tasks, by qemu-img: a branch keeps what it has when the snapshot below it goes."""
    host = disk.host
    disk.write(0)
    host.run(disk.freeze("0", "1"))
    disk.write(1)
    host.run(StopVmTask(vm_instance_uuid=disk.vm, cold=True))
    for _ in range(2):
        host.run(disk.freeze("1", "2"))
    for _ in range(2):
        host.run(disk.undo("1", "2"))
    assert disk.names() == {"0", "1"}
    host.run(disk.freeze("1", "2"))
    back = RevertedVolume(volume_uuid=disk.uuid, snapshot_path=disk.path("0"), snapshot_format="qcow2", size=SIZE)
    back.path = disk.path("branch")
    host.run(RevertVolumesTask(volumes=[back]))
    host.run(disk.pull("1"))
    host.run(disk.pull("branch"))
    Path(disk.path("0")).unlink()
    assert (disk.blocks("branch"), disk.blocks("1"), disk.blocks("2")) == ([0], [0, 1], [0, 1])
    other = host.failure(disk.freeze("nothing", "x"))
    assert other.reason == "NOT_FOUND"
    assert "x" not in disk.names()


def test_plugged_in_and_grown(disk: Disk) -> None:
    host = disk.host
    grow = ResizeVolumeTask(vm_instance_uuid=disk.vm, volume_uuid=disk.uuid, path=disk.path("0"), size=2 * SIZE)
    for _ in range(2):
        assert host.run(grow).size == 2 * SIZE
    assert str(2 * SIZE) in disk.virsh("domblkinfo", disk.vm, "vda")
    more = Disk(host)
    plug = VmDisk(volume_uuid=more.uuid, path=more.path("0"), format="qcow2", device_id=1)
    attach = AttachVolumeTask(vm_instance_uuid=disk.vm, disk=plug, platform="Linux")
    for _ in range(2):
        host.run(attach)
    assert disk.virsh("domblklist", disk.vm).count(more.path("0")) == 1
    disk.write(3, "virtio-disk1")
    host.run(StopVmTask(vm_instance_uuid=disk.vm, cold=True))
    assert more.blocks("0") == [3]
    host.run(attach)  # told at the next start
    grow.size = 3 * SIZE
    assert host.run(grow).size == 3 * SIZE
    assert host.run(ReadVolumeTask(volume_uuid=disk.uuid, path=disk.path("0"))).size == 3 * SIZE
    assert host.failure(ReadVolumeTask(volume_uuid=disk.uuid, path=disk.path("x"))).reason == "NOT_FOUND"


def test_copies_of_one_moment(disk: Disk, started: Callable[..., VmSpec]) -> None:
    """VM-24, VM-25: of a guest that has them open and of one that is stopped; each stands by itself."""
    host = disk.host
    disk.write(0)
    host.run(disk.freeze("0", "1"))
    disk.write(1)
    more = Disk(host)
    plug = VmDisk(volume_uuid=more.uuid, path=more.path("0"), format="qcow2", device_id=1)
    host.run(AttachVolumeTask(vm_instance_uuid=disk.vm, disk=plug, platform="Linux"))
    more.vm = disk.vm
    more.write(4, "virtio-disk1")

    def copies(vm: str) -> tuple[CopyVolumesTask, Disk, Disk]:
        made = [Disk(host), Disk(host)]
        for one in made:
            Path(one.path("0")).unlink()
        pairs = zip((disk, more), ("1", "0"), made, strict=True)
        task = CopyVolumesTask(
            vm_instance_uuid=vm,
            copies=[
                VolumeCopy(source_uuid=s.uuid, source_path=s.path(n), volume_uuid=c.uuid, path=c.path("0"), size=SIZE)
                for s, n, c in pairs
            ],
        )
        return task, *made

    task, first, second = copies(disk.vm)
    assert host.probe(task) is None
    result = host.run(task)
    assert [one.volume_uuid for one in result.volumes] == [first.uuid, second.uuid]
    disk.write(2)
    assert host.run(task) == result  # done again, it is done
    assert (first.blocks("0"), second.blocks("0")) == ([0, 1], [4])
    assert disk.blocks("1") == [0, 1, 2]
    assert (first.names(), second.names()) == ({"0"}, {"0"})
    # The guest's own files are what they were, and no copy follows it any more.
    assert disk.virsh("blockjob", disk.vm, "vda", "--info") == ""
    lost = copies(disk.vm)[0]
    lost.copies[0].source_uuid = "e" * 32
    lost.copies[0].source_path = disk.path("1").replace(disk.uuid, "e" * 32)
    assert host.failure(lost).reason == "NOT_FOUND"
    host.run(StopVmTask(vm_instance_uuid=disk.vm, cold=True))
    task, first, second = copies(disk.vm)
    # VM-07: what UEFI knows of the VM is copied with its root volume, and goes with the volume's last file.
    variables_of(Path(disk.path("1")), disk.uuid).write_bytes(b"boot entries")
    host.run(task)
    assert (first.blocks("0"), second.blocks("0")) == ([0, 1, 2], [4])
    copy = variables_of(Path(first.path("0")), first.uuid)
    assert copy.read_bytes() == b"boot entries"
    assert not variables_of(Path(second.path("0")), second.uuid).exists()
    info = subprocess.run(["qemu-img", "info", first.path("0")], capture_output=True, text=True, check=True).stdout
    assert "backing file" not in info
