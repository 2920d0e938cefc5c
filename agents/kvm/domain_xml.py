"""The libvirt domain of a VM, built node by node: no text of a caller is ever formatted into XML."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agents.runtime.task import TaskError
from agents.storage.paths import variables_of
from zcloud.v1.vm_instance_task_pb2 import VmCdDrive, VmDisk, VmInterface, VmSpec

Device = TypeVar("Device", VmDisk, VmInterface, VmCdDrive)

# Marks our domains; one without it belongs to somebody else and is never touched.
NAMESPACE = "https://zcloud.dev/xmlns/vm/1"
ET.register_namespace("zcloud", NAMESPACE)

UUID = re.compile(r"[0-9a-f]{32}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}")
LEGACY, UEFI = "Legacy", "Uefi"
# Code and empty variables, as distributions name them.
FIRMWARE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
)
DISK_FORMATS = ("qcow2", "raw")
# An emulated PC has two IDE channels of two places; further disks go to SATA.
IDE_PLACES = 4
DISK_PLACES = 26
# The first places on SATA, which disks leave free.
CD_PLACES = 4
BOOT_ORDER = ("HardDisk", "CdRom")
# QEMU would take 1 GiB of host memory for each guest otherwise.
TRANSLATION_CACHE_MIB = 64
# XML has no way to write these, escaped or not.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True)
class Platform:
    """The devices that a guest has drivers for."""

    disk_bus: str
    nic_model: str
    # Windows reads the hardware clock as local time.
    clock: str = "utc"


PLATFORMS = {
    "Linux": Platform("virtio", "virtio"),
    "Paravirtualization": Platform("virtio", "virtio"),
    "WindowsVirtio": Platform("virtio", "virtio", "localtime"),
    "Windows": Platform("ide", "e1000", "localtime"),
    "Other": Platform("ide", "e1000"),
}


@dataclass(frozen=True)
class Place:
    """Where a VM is to run."""

    # kvm or qemu (emulation).
    virtualization: str
    architecture: str
    serial_log: Path
    # New at each start of the VM: tells a reboot from a VM that never stopped.
    boot_id: str


def checked_uuid(what: str, value: str) -> str:
    """The value, or INVALID: uuids become names of files and domains."""
    if UUID.fullmatch(value) is None:
        raise TaskError("INVALID", f"{what} {value[:64]!r} is not 32 hexadecimal digits in lower case")
    return value


def tap_name(nic_uuid: str) -> str:
    """The interface on the host that a NIC hangs on. Hashed: callers may choose uuids that begin alike."""
    return "zv" + hashlib.sha256(nic_uuid.encode()).hexdigest()[:10]


def build(spec: VmSpec, place: Place) -> str:
    """The domain's XML; INVALID names the field that cannot be."""
    uuid = checked_uuid("vm_instance_uuid", spec.vm_instance_uuid)
    platform = PLATFORMS.get(spec.platform)
    if platform is None:
        raise TaskError("INVALID", f"platform {spec.platform[:64]!r} is none of {', '.join(PLATFORMS)}")
    if spec.cpu_num < 1 or spec.memory_size < 1:
        raise TaskError("INVALID", f"cpu_num {spec.cpu_num} and memory_size {spec.memory_size} must be at least 1")
    domain = ET.Element("domain", type=place.virtualization)
    _text(domain, "name", uuid)
    _text(domain, "uuid", uuid)
    mark = ET.SubElement(ET.SubElement(domain, "metadata"), f"{{{NAMESPACE}}}vm", boot=place.boot_id)
    _text(mark, f"{{{NAMESPACE}}}name", UNWRITABLE.sub("\ufffd", spec.name))
    _text(domain, "memory", str(spec.memory_size), unit="b")
    _text(domain, "vcpu", str(spec.cpu_num))
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch=place.architecture, **_machine(place))
    if spec.boot_mode == UEFI:
        _firmware(system, variables_path(spec, place.serial_log.parent))
    elif spec.boot_mode not in ("", LEGACY):
        raise TaskError("INVALID", f"boot_mode {spec.boot_mode[:64]!r} is none of {LEGACY}, {UEFI}")
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if place.virtualization == "qemu":
        _text(ET.SubElement(features, "tcg"), "tb-cache", str(TRANSLATION_CACHE_MIB), unit="MiB")
    ET.SubElement(domain, "cpu", mode="maximum" if place.virtualization == "qemu" else "host-model")
    ET.SubElement(domain, "clock", offset=platform.clock)
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    _devices(ET.SubElement(domain, "devices"), spec, platform, place)
    return ET.tostring(domain, encoding="unicode")


def variables_path(spec: VmSpec, folder: Path) -> Path:
    """With the root volume, so that they are there on whatever host the VM starts; in its folder if it has none."""
    for disk in sorted(spec.disks, key=lambda disk: disk.device_id):
        return variables_of(Path(disk.path), checked_uuid("volume_uuid", disk.volume_uuid))
    return folder / "uefi-variables.fd"


def _firmware(system: ET.Element, variables: Path) -> None:
    """UEFI: code that is shared by all guests, and variables of this one, which stay from start to start."""
    for code, empty in FIRMWARE:
        if os.path.exists(code) and os.path.exists(empty):
            _text(system, "loader", code, readonly="yes", type="pflash")
            _text(system, "nvram", str(variables), template=empty)
            return
    raise TaskError("FAILED", "the host has no UEFI firmware for guests; install the package ovmf there")


def _machine(place: Place) -> dict[str, str]:
    # IDE exists on "pc" only; other architectures have one machine each, which libvirt knows.
    return {"machine": "pc"} if place.architecture in ("x86_64", "i686") else {}


def _devices(devices: ET.Element, spec: VmSpec, platform: Platform, place: Place) -> None:
    boots: dict[str, list[ET.Element]] = {"HardDisk": [], "CdRom": [], "Network": []}
    for disk in _by_device_id("disk", spec.disks):
        boots["HardDisk"].append(_disk(devices, disk, platform))
    for drive in _by_device_id("CD drive", spec.cd_drives):
        boots["CdRom"].append(_cd_drive(devices, drive))
    for interface in _by_device_id("interface", spec.interfaces):
        boots["Network"].append(_interface(devices, interface, platform, bootable="Network" in spec.boot_order))
    _boot(spec, boots)
    serial = ET.SubElement(devices, "serial", type="file")
    # Written by virtlogd where libvirt is set up so, which is its default and rotates the file.
    ET.SubElement(serial, "source", path=str(place.serial_log), append="off")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    # On a socket that libvirt makes for this guest: nobody else on the host or the network gets at the console.
    graphics = ET.SubElement(devices, "graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="socket")
    ET.SubElement(ET.SubElement(devices, "video"), "model", type="vga")
    ET.SubElement(devices, "memballoon", model="virtio")
    _text(ET.SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


def _boot(spec: VmSpec, boots: dict[str, list[ET.Element]]) -> None:
    """Number the devices: of disks and NICs the first one, of CD drives all."""
    order = itertools.count(1)
    for kind in spec.boot_order or BOOT_ORDER:
        if kind not in boots:
            raise TaskError("INVALID", f"boot_order {kind[:64]!r} is none of {', '.join(boots)}")
        for node in boots[kind] if kind == "CdRom" else boots[kind][:1]:
            ET.SubElement(node, "boot", order=str(next(order)))


def _cd_drive(devices: ET.Element, drive: VmCdDrive) -> ET.Element:
    if drive.device_id >= CD_PLACES:
        raise TaskError("INVALID", f"device_id {drive.device_id} of a CD drive is over {CD_PLACES - 1}")
    if drive.path and (not os.path.isabs(drive.path) or UNWRITABLE.search(drive.path)):
        raise TaskError("INVALID", f"path {drive.path!r} of an ISO is not an absolute path")
    node = ET.SubElement(devices, "disk", type="file", device="cdrom")
    ET.SubElement(node, "driver", name="qemu", type="raw")
    if drive.path:
        ET.SubElement(node, "source", file=drive.path)
    ET.SubElement(node, "target", dev=cd_name(drive), bus="sata")
    ET.SubElement(node, "readonly")
    return node


def cd_name(drive: VmCdDrive) -> str:
    """What the drive is called on the guest's bus, such as sda."""
    return "sd" + chr(ord("a") + drive.device_id)


def cd_xml(drive: VmCdDrive) -> str:
    """One drive with what is to lie in it, for a guest that runs."""
    return ET.tostring(_cd_drive(ET.Element("devices"), drive), encoding="unicode")


def _by_device_id(what: str, devices: Iterable[Device]) -> list[Device]:
    """In the order that the guest is to see; two in one place is a mistake of the caller."""
    ordered = sorted(devices, key=lambda device: device.device_id)
    for first, second in itertools.pairwise(ordered):
        if first.device_id == second.device_id:
            raise TaskError("INVALID", f"two {what}s have the device_id {first.device_id}")
    return ordered


def _disk(devices: ET.Element, disk: VmDisk, platform: Platform) -> ET.Element:
    if not os.path.isabs(disk.path) or UNWRITABLE.search(disk.path):
        raise TaskError("INVALID", f"path {disk.path!r} of volume {disk.volume_uuid} is not an absolute path")
    if disk.format not in DISK_FORMATS:
        raise TaskError("INVALID", f"format {disk.format!r} of volume {disk.volume_uuid} is none of {DISK_FORMATS}")
    if disk.device_id >= DISK_PLACES:
        raise TaskError("INVALID", f"device_id {disk.device_id} of volume {disk.volume_uuid} is over {DISK_PLACES - 1}")
    bus = platform.disk_bus if platform.disk_bus == "virtio" or disk.device_id < IDE_PLACES else "sata"
    node = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(node, "driver", name="qemu", type=disk.format, cache="none", discard="unmap")
    ET.SubElement(node, "source", file=disk.path)
    prefix = {"virtio": "vd", "ide": "hd", "sata": "sd"}[bus]
    ET.SubElement(node, "target", dev=prefix + chr(ord("a") + disk.device_id), bus=bus)
    if disk.volume_uuid:
        # Seen by virtio guests as the disk's serial number, cut to 20 characters by the device.
        _text(node, "serial", checked_uuid("volume_uuid", disk.volume_uuid)[:20])
    return node


def disk_xml(disk: VmDisk, platform_name: str) -> str:
    """One disk, to be plugged into a guest that runs; INVALID names the field that cannot be."""
    platform = PLATFORMS.get(platform_name)
    if platform is None:
        raise TaskError("INVALID", f"platform {platform_name[:64]!r} is none of {', '.join(PLATFORMS)}")
    return ET.tostring(_disk(ET.Element("devices"), disk, platform), encoding="unicode")


def _interface(devices: ET.Element, interface: VmInterface, platform: Platform, *, bootable: bool) -> ET.Element:
    if MAC.fullmatch(interface.mac) is None:
        raise TaskError("INVALID", f"mac {interface.mac[:64]!r} of NIC {interface.nic_uuid} is not six pairs of hex")
    if INTERFACE.fullmatch(interface.bridge) is None:
        raise TaskError("INVALID", f"bridge {interface.bridge[:64]!r} is not the name of an interface")
    node = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(node, "mac", address=interface.mac.lower())
    ET.SubElement(node, "source", bridge=interface.bridge)
    ET.SubElement(node, "target", dev=tap_name(checked_uuid("nic_uuid", interface.nic_uuid)))
    ET.SubElement(node, "model", type=platform.nic_model)
    if not bootable:  # the ROM of the network card would only cost time
        ET.SubElement(node, "rom", enabled="no")
    return node


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def boot_id(metadata: str) -> str:
    """The boot_id that a domain's metadata element holds; the text is libvirt's own."""
    return ET.fromstring(metadata).get("boot", "")  # noqa: S314
