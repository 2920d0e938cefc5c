"""What this machine can run guests with: hardware virtualization, or emulation."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import libvirt

KVM_DEVICE = Path("/dev/kvm")
CPU_INFO = Path("/proc/cpuinfo")


def virtualization(connection: libvirt.virConnect, architecture: str) -> str:
    """kvm where it works, else qemu (emulation)."""
    if not _hardware_works():
        return "qemu"
    try:
        connection.getDomainCapabilities(None, architecture, None, "kvm")
    except libvirt.libvirtError:
        return "qemu"
    return "kvm"


def _hardware_works() -> bool:
    """The device alone does not tell: some clouds show one that cannot run whole guests, and libvirt believes it."""
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return False
    if platform.machine() != "x86_64":
        return True
    flags = {word for line in CPU_INFO.read_text().splitlines() if line.startswith("flags") for word in line.split()}
    return bool(flags & {"vmx", "svm"})


def operating_system(release: Path = Path("/etc/os-release")) -> str:
    """What the host runs, as it calls itself, with its kernel."""
    name = "Linux"
    if release.exists():
        for line in release.read_text().splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                name = value.strip('"')
    return f"{name}, kernel {platform.release()}"


def version(number: int) -> str:
    """libvirt's way to write versions, undone: 7002022 is 7.2.22."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
