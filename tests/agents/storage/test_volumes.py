"""Local storage and volumes, looked at with the real qemu-img."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import Handler
from agents.storage import volumes
from agents.storage.handlers import host_handlers
from agents.storage.paths import regular_file, variables_of
from tests.agents.storage import images
from tests.agents.storage.images import MIB
from tests.support.tasks import failure, probe, run
from zcloud.v1.primary_storage_task_pb2 import (
    PrepareLocalStorageTask,
    PrepareNfsStorageTask,
    PrepareSharedMountPointTask,
)
from zcloud.v1.volume_task_pb2 import CreateRootVolumeTask, DeleteVolumeTask

pytestmark = pytest.mark.real
VOLUME = "c" * 32


def handler(task: type[Any]) -> Handler[Any, Any]:
    return next(handler for handler in host_handlers() if handler.task is task)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "ps" / "rootVolumes" / VOLUME / f"{VOLUME}.qcow2"


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    return images.qcow2(tmp_path / "base image,=.qcow2")


def task(volume: Path, backing: Path, size: int = 16 * MIB, **changes: Any) -> CreateRootVolumeTask:
    fields = {"volume_uuid": VOLUME, "path": str(volume), "backing_path": str(backing), "backing_format": "qcow2"}
    return CreateRootVolumeTask(**(fields | {"size": size} | changes))


def info(path: Path) -> dict[str, Any]:
    argv = ["qemu-img", "info", "-f", "qcow2", "--output=json", str(path)]
    return dict(json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout))


def content(path: Path, format: str) -> bytes:
    target = path.with_suffix(".read")
    images.qemu_img("convert", "-f", format, "-O", "raw", str(path), str(target))
    return target.read_bytes()


def test_local_storage_is_made_and_measured(tmp_path: Path) -> None:
    prepare, args = handler(PrepareLocalStorageTask), PrepareLocalStorageTask(url=str(tmp_path / "a" / "ps"))
    assert probe(prepare, args) is None
    for _ in range(2):
        result = run(prepare, args)
        assert result.total_capacity == shutil.disk_usage(tmp_path).total
        assert 0 < result.available_capacity <= result.total_capacity
    assert probe(prepare, args).total_capacity == result.total_capacity
    assert list((tmp_path / "a" / "ps").iterdir()) == []


@pytest.mark.parametrize("url", ["", "/", "ps", "/a/./b", "/usr/ps", "/proc/ps"])
def test_directories_that_no_storage_may_have(url: str) -> None:
    assert failure(handler(PrepareLocalStorageTask), PrepareLocalStorageTask(url=url)).reason == "INVALID"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for url in (tmp_path / "file", tmp_path / "file" / "below"):
        error = failure(handler(PrepareLocalStorageTask), PrepareLocalStorageTask(url=str(url)))
        assert (error.reason, "is not a directory" in error.message) == ("INVALID", True)


def test_a_volume_stands_on_its_image(volume: Path, backing: Path) -> None:
    create, args = handler(CreateRootVolumeTask), task(volume, backing)
    assert probe(create, args) is None
    result = run(create, args)
    seen = info(volume)
    assert (seen["virtual-size"], seen["backing-filename"]) == (16 * MIB, str(backing))
    assert seen["backing-filename-format"] == "qcow2"
    assert result.actual_size == volume.stat().st_blocks * 512
    assert content(volume, "qcow2")[: 8 * MIB] == content(backing, "qcow2")
    assert [path.name for path in volume.parent.iterdir() if path.suffix != ".read"] == [volume.name]


def test_a_volume_that_was_written_to_is_kept(volume: Path, backing: Path) -> None:
    create, args = handler(CreateRootVolumeTask), task(volume, backing)
    run(create, args)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 9 4M 64k", str(volume)], check=True, capture_output=True)
    before = volume.read_bytes()
    assert probe(create, args).actual_size > 0
    run(create, args)
    assert volume.read_bytes() == before


def test_what_a_crash_left_is_made_anew(volume: Path, backing: Path) -> None:
    volume.parent.mkdir(parents=True)
    volume.with_name(volume.name + ".part").write_bytes(b"half")
    assert probe(handler(CreateRootVolumeTask), task(volume, backing)) is None
    run(handler(CreateRootVolumeTask), task(volume, backing))
    assert [path.name for path in volume.parent.iterdir()] == [volume.name]


def test_a_raw_image_that_looks_like_another_format_stays_raw(volume: Path, tmp_path: Path) -> None:
    """A guest may write any header into its raw disk: only what the task says decides what it is."""
    trap = tmp_path / "base.raw"
    images.qcow2(tmp_path / "inner.qcow2", 8 * MIB, "-o", "data_file=/etc/hostname,data_file_raw=on", written=0)
    trap.write_bytes((tmp_path / "inner.qcow2").read_bytes().ljust(MIB, b"\0"))
    run(handler(CreateRootVolumeTask), task(volume, trap, backing_format="raw"))
    assert info(volume)["backing-filename-format"] == "raw"
    assert content(volume, "qcow2")[:MIB] == trap.read_bytes()


def test_another_volume_in_its_place_is_not_written_over(volume: Path, backing: Path, tmp_path: Path) -> None:
    create = handler(CreateRootVolumeTask)
    run(create, task(volume, backing))
    before = volume.read_bytes()
    other = images.qcow2(tmp_path / "other.qcow2")
    assert failure(create, task(volume, other)).reason == "INVALID"
    assert failure(create, task(volume, backing, size=32 * MIB)).reason == "INVALID"
    assert volume.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": 8 * MIB - 1}, "INVALID"),
        ({"size": 0}, "INVALID"),
        ({"backing_format": ""}, "INVALID"),
        ({"backing_format": "vmdk"}, "INVALID"),
        ({"backing_path": "/nowhere/image"}, "NOT_FOUND"),
        ({"backing_path": "json:{}"}, "INVALID"),
        ({"path": "relative"}, "INVALID"),
        ({"path": "/srv/other.qcow2"}, "INVALID"),
        ({"volume_uuid": ""}, "INVALID"),
    ],
)
def test_a_volume_that_cannot_be(volume: Path, backing: Path, changes: dict[str, Any], reason: str) -> None:
    assert failure(handler(CreateRootVolumeTask), task(volume, backing, **changes)).reason == reason
    assert not volume.parent.exists()


def test_a_failing_qemu_img_leaves_nothing(volume: Path, backing: Path) -> None:
    error = failure(handler(CreateRootVolumeTask), task(volume, backing, size=(1 << 64) - 1))
    assert (error.reason, "qemu-img create failed" in error.message) == ("FAILED", True)
    assert not volume.parent.exists()


def test_a_volume_is_deleted_once_and_for_all(volume: Path, backing: Path) -> None:
    run(handler(CreateRootVolumeTask), task(volume, backing))
    delete, args = handler(DeleteVolumeTask), DeleteVolumeTask(volume_uuid=VOLUME, path=str(volume))
    assert probe(delete, args) is None
    variables = variables_of(volume, VOLUME)
    for _ in range(2):
        run(delete, args)
        assert not volume.parent.exists()
        assert volume.parent.parent.exists()
    assert probe(delete, args) is not None
    # What UEFI kept beside it goes with it, if need be alone (VM-07).
    volume.parent.mkdir()
    variables.touch()
    assert probe(delete, args) is None
    run(delete, args)
    assert not volume.parent.exists()
    assert backing.exists()


def test_a_volume_that_another_host_deletes_meanwhile_is_deleted(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VOL-02: on a shared storage, where one may go on with what the other has begun."""
    volume.parent.mkdir(parents=True)
    volume.touch()

    def looked(what: str, path: Path) -> bool:
        there = regular_file(what, path)
        path.unlink(missing_ok=True)
        return there

    monkeypatch.setattr(volumes, "regular_file", looked)
    run(handler(DeleteVolumeTask), DeleteVolumeTask(volume_uuid=VOLUME, path=str(volume)))
    assert not volume.parent.exists()


def test_only_the_volume_itself_is_deleted(volume: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep")
    volume.parent.mkdir(parents=True)
    volume.symlink_to(victim)
    delete = handler(DeleteVolumeTask)
    for path in (volume, victim, volume.parent):
        assert failure(delete, DeleteVolumeTask(volume_uuid=VOLUME, path=str(path))).reason == "INVALID"
    assert failure(delete, DeleteVolumeTask(volume_uuid="", path=str(victim))).reason == "INVALID"
    assert victim.read_text() == "keep"
    assert volume.is_symlink()


def test_a_shared_directory_is_the_same_for_all(tmp_path: Path) -> None:
    """PS-08: it is never made, and a host that has another one there does not take part."""
    prepare, url = handler(PrepareSharedMountPointTask), tmp_path / "smp"

    def at(path: Path, *, first: bool = False, uuid: str = "a" * 32) -> PrepareSharedMountPointTask:
        return PrepareSharedMountPointTask(primary_storage_uuid=uuid, url=str(path), first=first)

    assert failure(prepare, at(url, first=True)).reason == "NOT_FOUND"
    assert not url.exists()
    url.mkdir()
    alien = failure(prepare, at(url))
    assert (alien.reason, "not the file system that other hosts have" in alien.message) == ("INVALID", True)
    for first in (True, False, True):
        result = run(prepare, at(url, first=first))
        assert result.total_capacity == shutil.disk_usage(tmp_path).total
        assert 0 < result.available_capacity <= result.total_capacity
    assert failure(prepare, at(url, uuid="b" * 32)).reason == "INVALID"
    assert failure(prepare, at(url, uuid="../x", first=True)).reason == "INVALID"
    # the same file system by another way is the same
    linked = tmp_path / "mounted"
    linked.symlink_to(url)
    assert run(prepare, at(linked)).total_capacity == result.total_capacity


def test_an_export_that_is_mounted_is_used_and_another_is_left_alone(tmp_path: Path) -> None:
    """PS-07. A file system in memory stands for the export: what counts is what the kernel says is mounted there."""
    prepare, place = handler(PrepareNfsStorageTask), tmp_path / "nfs"
    place.mkdir()
    task = PrepareNfsStorageTask(primary_storage_uuid="a" * 32, url="nas.invalid:/x", directory=str(place), first=True)
    absent = failure(prepare, task)
    assert absent.reason in ("FAILED", "UNREACHABLE")
    assert "nas.invalid:/x" in absent.message
    assert not list(place.iterdir())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "nas.invalid:/x", str(place)], check=True)
    try:
        for _ in range(2):
            assert run(prepare, task).total_capacity == 4 * MIB
        other = PrepareNfsStorageTask(primary_storage_uuid="a" * 32, url="nas.invalid:/y", directory=str(place))
        error = failure(prepare, other)
        assert (error.reason, "nas.invalid:/x is mounted" in error.message) == ("INVALID", True)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    for url in ("-a:/x", "nothing"):
        assert failure(prepare, PrepareNfsStorageTask(url=url, directory=str(place))).reason == "INVALID"
