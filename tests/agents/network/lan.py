"""A physical device for a test, and clients on the network behind it: veth pairs, each far end in a namespace."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

SYSCTLS = Path("/proc/sys/net/bridge")
# What udhcpc calls: everything the server said, one line per variable.
DHCP_SCRIPT = '#!/bin/sh\n[ "$1" = bound ] && env > "$(dirname "$0")/lease"\nexit 0\n'


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)


def exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


class Lan:
    """device is what a task calls the physical interface; namespace is the world at its other end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex[:8]
        self.device = f"zt{self.mark}"
        self.namespace = f"zt-{self.mark}"
        self.bridge = f"zb{self.mark}"
        self.l2 = uuid.uuid4().hex
        self._devices: list[str] = []
        self._namespaces: list[str] = []

    def pair(self, device: str, namespace: str, *settings: str) -> None:
        """A device here with its other end as eth0 in a new namespace."""
        ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        ip("link", "add", "name", device, "type", "veth", "peer", "name", "eth0", *settings, "netns", namespace)
        self._devices.append(device)
        ip("-netns", namespace, "link", "set", "eth0", "up")

    def client(self, name: str, mac: str) -> str:
        """A machine on the bridge; returns its namespace."""
        namespace = f"zt-{self.mark}-{name}"
        self.pair(f"zt{self.mark}{name}", namespace, "address", mac)
        ip("link", "set", f"zt{self.mark}{name}", "master", self.bridge, "up")
        return namespace

    def ask_dhcp(self, namespace: str, tries: int = 60) -> dict[str, str]:
        """What the server gives to this machine, as soon as it gives anything; empty when it is silent."""
        folder = self.folder / namespace
        folder.mkdir(exist_ok=True)
        lease, script = folder / "lease", folder / "script"
        lease.unlink(missing_ok=True)
        script.write_text(DHCP_SCRIPT)
        script.chmod(0o755)
        argv = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", "1", "-s", script]
        subprocess.run(["ip", "netns", "exec", namespace, *argv], capture_output=True)
        lines = lease.read_text().splitlines() if lease.exists() else []
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def dhcp_is_silent(self, namespace: str) -> bool:
        """Whether nobody gives it anything, as far as two questions tell."""
        return self.ask_dhcp(namespace, 2) == {}

    def pings(self, namespace: str, address: str) -> bool:
        """Whether an address answers within a few tries."""
        argv = ["ip", "netns", "exec", namespace, "ping", "-q", "-c", "3", "-i", "0.3", "-W", "1", address]
        return subprocess.run(argv, capture_output=True).returncode == 0

    def close(self) -> None:
        for device in [*self._devices, self.bridge]:
            subprocess.run(["ip", "link", "delete", "dev", device], capture_output=True)
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)


@contextlib.contextmanager
def new_lan(folder: Path) -> Iterator[Lan]:
    """With the host's switches as they were afterwards."""
    switches = {path: path.read_text() for path in SYSCTLS.glob("bridge-nf-call-*")}
    lan = Lan(folder)
    try:
        lan.pair(lan.device, lan.namespace)
        yield lan
    finally:
        lan.close()
        for path, value in switches.items():
            path.write_text(value)
