"""Disks of a guest that ends by itself between the look at it and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt
import pytest

from agents.kvm import disks
from zcloud.v1.vm_instance_task_pb2 import VmCdDrive, VmDisk

VM, PATH = "a" * 32, "/ps/volume.qcow2"
DISK = f"<disk><source file='{PATH}'/><target dev='vdb'/><alias name='virtio-disk1'/></disk>"


def error(code: int) -> libvirt.libvirtError:
    made = libvirt.libvirtError("as ordered")
    made.err = (code,)
    return made


class Guest:
    """Ends as soon as anybody asks for more than it may be asked for; connection and domain in one."""

    def __init__(self, asked: int, code: int, *, ends: bool = True, disk: str = DISK) -> None:
        self._left, self._code, self._ends, self._disk = asked, code, ends, disk
        self.runs = True

    def lookupByUUIDString(self, _: str) -> Guest:
        if not self.runs:
            raise error(libvirt.VIR_ERR_NO_DOMAIN)
        return self

    def isActive(self) -> bool:
        return self.runs

    def metadata(self, *_: Any) -> str:
        return ""

    def XMLDesc(self) -> str:
        self._ask()
        return f"<domain><devices>{self._disk}</devices></domain>"

    def _ask(self, *_: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            self.runs = not self._ends
            raise error(self._code)
        return [0]

    attachDeviceFlags = updateDeviceFlags = detachDeviceAlias = blockInfo = blockResize = _ask


def attach(guest: Guest) -> Any:
    guest._disk = ""
    return disks.attach(guest, VM, VmDisk(path=PATH, volume_uuid="b" * 32, format="qcow2"), "Linux")  # type: ignore[arg-type]


ACTIONS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "disk": (lambda guest: disks.disk_of_guest(guest, VM, PATH), 1),
    "attach": (attach, 2),
    "change_cd": (lambda guest: disks.change_cd(guest, VM, VmCdDrive()), 1),
    "detach": (lambda guest: disks.detach(guest, VM, PATH, lambda: None), 3),
    "resize": (lambda guest: disks.resize(guest, VM, PATH, 1), 3),
}
ENDINGS = [(name, asked) for name, (_, most) in ACTIONS.items() for asked in range(most)]


@pytest.mark.parametrize("code", [libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID])
@pytest.mark.parametrize(("name", "asked"), ENDINGS)
def test_a_guest_that_ends_meanwhile_is_as_one_that_does_not_run(
    name: str, asked: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VOL-02, VM-06: whatever it had is let go of, and what it is to have it is told at its next start."""
    monkeypatch.setattr(disks, "POLL_SECONDS", 0.0)
    assert not ACTIONS[name][0](Guest(asked, code))


@pytest.mark.parametrize(("name", "asked"), ENDINGS)
def test_a_guest_that_runs_on_has_refused(name: str, asked: int) -> None:
    with pytest.raises(libvirt.libvirtError):
        ACTIONS[name][0](Guest(asked, libvirt.VIR_ERR_OPERATION_INVALID, ends=False))


def test_a_disk_that_the_guest_lets_go_of_meanwhile_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by a task before this one."""
    guest = Guest(9, 0)
    monkeypatch.setattr(disks, "POLL_SECONDS", 0.0)
    disks.detach(guest, VM, PATH, lambda: setattr(guest, "_disk", ""))
