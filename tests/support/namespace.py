"""Machines of a test: a network, mount and UTS namespace each, on one switch that is this machine's bridge."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any


class Namespace:
    """One machine: what is started in it ends with it."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        # Alone, it holds the namespaces; mounts that are made in it later are seen by all that live in it.
        argv = ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "--", "sh", "-c"]
        mounts = "mount --make-rshared / && mount -t sysfs sysfs /sys"
        script = f"{mounts} && hostname {name} && echo up && exec sleep infinity"
        self._anchor = subprocess.Popen([*argv, script], stdout=subprocess.PIPE, start_new_session=True)
        assert self._anchor.stdout is not None
        assert self._anchor.stdout.readline() == b"up\n"

    @property
    def pid(self) -> int:
        return self._anchor.pid

    def command(self, argv: Sequence[str]) -> list[str]:
        """As it is to be called from outside."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--", *argv]

    def run(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.command(argv), check=True, capture_output=True)

    def start(self, argv: Sequence[str], output: IO[Any]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )

    def bind(self, source: Path, place: str) -> None:
        """A directory of its own, where all machines have one."""
        source.mkdir(parents=True, exist_ok=True)
        self.run("mount", "--bind", str(source), place)

    def kill_all(self) -> None:
        """Whoever shares a namespace with it: what was started in it has left some of them, but not all."""
        for pid in self._pids():
            _kill(pid)

    def kill(self, module: str) -> int:
        """Those that run a module of Python here; how many there were."""
        found = [pid for pid in self._pids() if module.encode() in _words(pid)]
        for pid in found:
            _kill(pid)
        while any(_spaces(str(pid)) for pid in found):
            time.sleep(0.02)
        return len(found)

    def _pids(self) -> list[int]:
        here, mine = _spaces("self"), _spaces(str(self.pid))
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != self.pid:
                there = _spaces(entry)
                if there and any(a == b != c for a, b, c in zip(there, mine, here, strict=True)):
                    found.append(int(entry))
        return found

    def close(self) -> None:
        self.kill_all()
        self._anchor.kill()
        self._anchor.wait()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _spaces(pid: str) -> list[str]:
    try:
        return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt", "uts")]
    except OSError:
        return []


class Switch:
    """A bridge of this machine, which has an address on it, and the machines on it."""

    def __init__(self, subnet: str) -> None:
        """subnet: the first three numbers."""
        self.subnet = subnet
        self.bridge = f"zs{uuid.uuid4().hex[:8]}"
        self.machines: list[Namespace] = []
        self._taps: list[str] = []
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("address", "add", f"{subnet}.254/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    @property
    def address(self) -> str:
        return f"{self.subnet}.254"

    def machine(self, name: str) -> Namespace:
        """One more; its eth0 is on the switch, and has the next address."""
        made = Namespace(name, f"{self.subnet}.{len(self.machines) + 1}")
        self.machines.append(made)
        made.run("ip", "link", "set", "lo", "up")
        self.plug(made, "eth0")
        made.run("ip", "address", "add", f"{made.address}/24", "dev", "eth0")
        return made

    def tap(self) -> str:
        """A socket for the network card of a machine under QEMU."""
        name = f"zs{uuid.uuid4().hex[:10]}"
        _ip("tuntap", "add", "dev", name, "mode", "tap")
        self._taps.append(name)
        _ip("link", "set", name, "master", self.bridge, "up")
        return name

    def plug(self, machine: Namespace, device: str) -> None:
        """A network card without an address."""
        here = f"zs{uuid.uuid4().hex[:10]}"
        _ip("link", "add", here, "type", "veth", "peer", "name", device, "netns", str(machine.pid))
        _ip("link", "set", here, "master", self.bridge, "up")
        machine.run("ip", "link", "set", device, "up")

    def close(self) -> None:
        for machine in self.machines:
            machine.close()
        for device in (*self._taps, self.bridge):
            _ip("link", "delete", device)


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)


def free_subnet() -> str:
    """Three numbers of a network that this machine has no way to yet."""
    routes = subprocess.run(["ip", "-4", "route"], check=True, capture_output=True, text=True).stdout
    free = [f"10.199.{number}" for number in range(16, 256) if f"10.199.{number}." not in routes]
    return random.choice(free)


@contextlib.contextmanager
def new_switch(subnet: str) -> Iterator[Switch]:
    made = Switch(subnet)
    try:
        yield made
    finally:
        made.close()
