"""Disks of a guest that runs: plugged in, taken out, made bigger, and which file each has open."""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import libvirt

from agents.kvm import domain_xml
from agents.kvm.hypervisor import find, has_ended
from agents.runtime.task import TaskError
from zcloud.v1.vm_instance_task_pb2 import VmCdDrive, VmDisk

# How long a guest may take to let go of a disk.
LET_GO_SECONDS = 60.0
POLL_SECONDS = 0.2


def live(connection: libvirt.virConnect, vm: str) -> libvirt.virDomain | None:
    """The guest, while it runs here; None for no VM at all, too."""
    return find(connection, domain_xml.checked_uuid("vm_instance_uuid", vm)) if vm else None


@contextlib.contextmanager
def unless_ended(connection: libvirt.virConnect, vm: str) -> Iterator[None]:
    """A guest may end by itself at any moment: what was asked of it then is as for one that does not run."""
    try:
        yield
    except libvirt.libvirtError as error:
        if not has_ended(error) or live(connection, vm) is not None:
            raise


def disk_of_guest(connection: libvirt.virConnect, vm: str, path: str) -> str:
    """The name of the disk of a guest that writes to this file; empty when none does."""
    with unless_ended(connection, vm):
        domain = live(connection, vm)
        return disk_with(domain, path) if domain is not None else ""
    return ""


def description(domain: libvirt.virDomain) -> ET.Element:
    """What libvirt says of the guest now."""
    return ET.fromstring(domain.XMLDesc())  # noqa: S314 - libvirt's own words


def disk_with(domain: libvirt.virDomain, path: str) -> str:
    """The name of the guest's disk whose newest file this is, such as vdb; empty when it has none."""
    for disk in description(domain).iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if source is not None and target is not None and source.get("file") == path:
            return str(target.get("dev"))
    return ""


def disk_of(domain: libvirt.virDomain, volume_uuid: str) -> str:
    """The name of the guest's disk that is this volume, whatever file it has open; empty when it has none."""
    for disk in description(domain).iterfind("devices/disk"):
        target = disk.find("target")
        if target is not None and disk.findtext("serial") == volume_uuid[:20]:
            return str(target.get("dev"))
    return ""


def attach(connection: libvirt.virConnect, vm: str, disk: VmDisk, platform: str) -> None:
    """Have it plugged in, which it may be already. A guest that does not run is told at its next start."""
    with unless_ended(connection, vm):
        domain = live(connection, vm)
        if domain is not None and not disk_with(domain, disk.path):
            domain.attachDeviceFlags(domain_xml.disk_xml(disk, platform), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def change_cd(connection: libvirt.virConnect, vm: str, drive: VmCdDrive) -> None:
    """Let this lie in the drive, or nothing; a guest that holds the tray shut is overruled."""
    with unless_ended(connection, vm):
        domain = live(connection, vm)
        if domain is not None:
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
            domain.updateDeviceFlags(domain_xml.cd_xml(drive), flags)


def detach(connection: libvirt.virConnect, vm: str, path: str, check: Callable[[], None]) -> None:
    """Have it let go: the guest is asked, and waited for. FAILED when it does not."""
    end = time.monotonic() + LET_GO_SECONDS
    asked = False
    while name := disk_of_guest(connection, vm, path):
        check()
        if time.monotonic() > end:
            text = f"the guest did not let go of disk {name} in {LET_GO_SECONDS:.0f} s; unmount it there and try again"
            raise TaskError("REFUSED", text)
        if not asked:
            asked = True
            _ask_to_let_go(connection, vm, name)
        time.sleep(POLL_SECONDS)


def _ask_to_let_go(connection: libvirt.virConnect, vm: str, name: str) -> None:
    with unless_ended(connection, vm):
        domain = live(connection, vm)
        if domain is not None and (alias := _alias(domain, name)):
            domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _alias(domain: libvirt.virDomain, name: str) -> str:
    """Empty once the disk is not there any more."""
    for disk in description(domain).iterfind("devices/disk"):
        target, alias = disk.find("target"), disk.find("alias")
        if target is not None and alias is not None and target.get("dev") == name:
            return str(alias.get("name"))
    return ""


def resize(connection: libvirt.virConnect, vm: str, path: str, size: int) -> bool:
    """Let the disk of a guest that runs grow; False when none runs with it."""
    with unless_ended(connection, vm):
        domain = live(connection, vm)
        name = disk_with(domain, path) if domain is not None else ""
        if domain is None or not name:
            return False
        if domain.blockInfo(name)[0] < size:
            domain.blockResize(name, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        return True
    return False
