"""The parts of this machine that the demonstration uses: all its own, all gone when it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agents.kvm.private_libvirtd import PrivateLibvirtd
from agents.node.host_setup import Places, stop_agent
from agents.node.private_sshd import PrivateSshd

# A pair of veth devices stands for the network card and the cable: the machine's own NIC is never touched.
DEVICE, CABLE = "zcdemo0", "zcdemo1"
GATEWAY, CIDR = "10.199.77.1", "10.199.77.0/24"
# Beneath those that the kernel gives to whoever dials somebody: it must be free at each start.
SSH_PORTS = range(10022, 10122)
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class Machine:
    """What must run here beside the management node, and the node itself."""

    def __init__(self, directory: Path, server: str) -> None:
        self.directory = directory.absolute()
        self.server = server
        self.log = self.directory / "serve.log"
        self.agents = self.directory / "agents"
        self.image = self.directory / "guest" / "guest.qcow2"
        self.sshd = PrivateSshd(self.directory / "sshd", _ssh_port(self.directory / "ssh-port"))
        self.libvirtd = PrivateLibvirtd(self.directory / "libvirt")
        self._node: subprocess.Popen[bytes] | None = None

    # -- one part after the other

    def build_image(self) -> str:
        """The small guest image, once."""
        script = Path(__file__).parents[3] / "tools" / "guest_image.sh"
        subprocess.run([str(script), str(self.image)], check=True, stdout=subprocess.DEVNULL)
        return f"{self.image.stat().st_size >> 20} MiB"

    def start_node(self) -> str:
        """A management node on SQLite."""
        if _listens(self.server):
            raise RuntimeError(f"something listens on {self.server} already; stop it, or set ZCLOUD_SERVER")
        host, _, port = self.server.rpartition(":")
        doors = [f"{host}:{int(port) + 1}", f"{host}:{int(port) + 2}"]
        command = [sys.executable, "-m", "zcloud.cli.main", "serve", "--data", str(self.directory)]
        command += ["--listen", self.server, "--listen-agents", doors[0], "--listen-enrolment", doors[1]]
        command += ["--agent-base", str(self.agents)]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is ours to answer, in order.
            self._node = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not _listens(self.server):
            if self._node.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the management node did not start; see {self.log}")
            time.sleep(0.1)
        return f"{self.server}, log {self.log}"

    @property
    def serves(self) -> bool:
        """Whether the management node that was started here is still there to be called."""
        return self._node is not None and self._node.poll() is None

    def start_sshd(self) -> str:
        """An OpenSSH server on a loopback port: the backup storage, and the way to install the agent."""
        self.sshd.start()
        return f"127.0.0.1:{self.sshd.port}"

    def start_libvirtd(self) -> str:
        """A libvirt of our own, apart from the machine's."""
        self.libvirtd.start()
        return self.libvirtd.uri

    def plug_cable(self) -> str:
        """The veth pair; the end that is not the host's network card has the gateway's address."""
        if not Path("/sys/class/net", DEVICE).exists():
            _ip("link", "add", DEVICE, "type", "veth", "peer", "name", CABLE)
        _ip("address", "replace", f"{GATEWAY}/24", "dev", CABLE)
        for device in (DEVICE, CABLE):
            _ip("link", "set", device, "up")
        return f"{DEVICE} to {CABLE} ({GATEWAY})"

    # -- the end

    def stop(self) -> None:
        """Everything that was started, in the opposite order; what is not there is no fault."""
        for part in (self._stop_agents, self._stop_node, self.libvirtd.stop, self.sshd.stop, self._unplug):
            try:
                part()
            except Exception as error:
                print(f"  {part.__name__}: {error}", file=sys.stderr)

    def _stop_agents(self) -> None:
        for directory in self.agents.glob("*"):
            if directory.is_dir():
                stop_agent(Places(str(directory)))

    def _stop_node(self) -> None:
        if self._node is None:
            return
        self._node.send_signal(signal.SIGTERM)
        try:
            self._node.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._node.kill()
            self._node.wait()

    def _unplug(self) -> None:
        if Path("/sys/class/net", DEVICE).exists():
            _ip("link", "delete", DEVICE)


def _ssh_port(kept: Path) -> int:
    """The same in every run, since host and storage are known by it: the usual one, or another when that is taken."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(f"{next(filter(_is_free, SSH_PORTS))}\n")
    return int(kept.read_text())


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def answers(address: str) -> bool:
    """Whether somebody answers a ping."""
    command = ["ping", "-c", "1", "-W", "1", "-q", "--", address]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Two demonstrations in one directory would take each other's parts away."""
    import fcntl

    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"make run is at work in {directory} already") from None
        file.write(str(os.getpid()))
        file.flush()
        yield
