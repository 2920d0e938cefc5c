"""A whole Debian under QEMU as a host of the cloud, on the switch of the other machines of a test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.libvirtd import CACHE, ROOT
from tests.support.namespace import Switch

DISK = CACHE / "nested-host.qcow2"
START_SECONDS = 600.0


class NestedMachine:
    """Reached by SSH, as any server."""

    name, ssh_port, libvirt_uri, uuid = "nested", 22, "qemu:///system", ""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self._folder = address, folder
        subprocess.run([ROOT / "tools/nested_host.sh", DISK, f"{address}/24"], check=True)

    @property
    def client_key(self) -> str:
        return Path(f"{DISK}.key").read_text()

    def ssh(self, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=120"]
        argv = ["ssh", "-i", f"{DISK}.key", *(part for option in options for part in ("-o", option))]
        return subprocess.run([*argv, f"root@{self.address}", command], capture_output=True, text=True, check=check)

    def start(self, switch: Switch) -> subprocess.Popen[bytes]:
        disk = self._folder / "nested.qcow2"
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(DISK), "-F", "qcow2", str(disk)]
        subprocess.run(argv, check=True)
        argv = ["qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "1536", "-display", "none"]
        argv += ["-accel", "tcg,thread=multi,tb-size=256", "-serial", f"file:{self._folder}/nested.serial"]
        argv += ["-kernel", f"{DISK}.kernel", "-initrd", f"{DISK}.initrd"]
        argv += ["-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off net.ifnames=0 no_timer_check"]
        argv += ["-drive", f"file={disk},if=virtio,format=qcow2", "-device", "virtio-rng-pci"]
        for number in range(2):
            argv += ["-netdev", f"tap,id=n{number},ifname={switch.tap()},script=no,downscript=no"]
            argv += ["-device", f"virtio-net-pci,netdev=n{number},mac=02:00:00:99:00:0{number},romfile="]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)

    def wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while self.ssh("systemctl is-active libvirtd.socket", check=False).returncode != 0:
            assert time.monotonic() < end, (self._folder / "nested.serial").read_text(errors="replace")[-2000:]
            time.sleep(1)
        self.ssh("ip link set eth1 up")
        # An agent's start has a deadline. The first time that these are imported here takes minutes: there is no
        # bytecode of them on the disk.
        self.ssh(f"{sys.executable} -c 'import cryptography.x509, google.protobuf.json_format, grpc.aio, libvirt'")


@contextlib.contextmanager
def running_machine(switch: Switch, address: str, folder: Path) -> Iterator[NestedMachine]:
    made = NestedMachine(address, folder)
    process = made.start(switch)
    try:
        made.wait()
        yield made
    finally:
        process.kill()
        process.wait()
