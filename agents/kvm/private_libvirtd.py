"""A libvirtd of our own in a directory: python -m agents.kvm.private_libvirtd start|stop|uri DIR.

It lives in a mount namespace in which /run, /etc/libvirt and libvirt's directories under /var are folders of DIR, and
in the caller's network namespace. So it never touches the machine's own libvirt, and stopping it leaves nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Where libvirtd keeps things, and what stands in for it in DIR.
MOUNTS = {
    "/run": "run",
    "/etc/libvirt": "etc",
    "/var/lib/libvirt": "lib",
    "/var/cache/libvirt": "cache",
    "/var/log/libvirt": "log",
}
# Folders that the packages would have made.
FOLDERS = ("run/lock", "run/libvirt", "etc/qemu", "lib/images", "lib/qemu", "lib/boot", "cache", "log")

LIBVIRTD_CONF = """\
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

# No cgroups and no ownership of files: neither belongs to a private daemon. Without virtlogd, QEMU writes logs itself.
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""

# Values come as arguments, never as text of the script: $1 is DIR, then pairs of folder and place, then -- and argv.
ENTER = """\
base=$1
shift
while [ "$1" != -- ]; do
  mount --bind "$base/$1" "$2" || exit 1
  shift 2
done
shift
exec "$@"
"""

# sockaddr_un holds 107 bytes.
SOCKET_LIMIT = 107


class LibvirtdError(Exception):
    """The private libvirtd cannot be started or stopped; says why and what to do."""


class PrivateLibvirtd:
    """One libvirtd and its guests, known by its directory: any process may start, find or stop it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.socket = self.directory / "run/libvirt/libvirt-sock"
        self._pid_file = self.directory / "libvirtd.pid"

    @property
    def uri(self) -> str:
        """What libvirt clients connect to."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def pid(self) -> int | None:
        """The daemon's process; None when it does not run."""
        return _running(self._pid_file, "libvirtd")

    def start(self, timeout: float = 120) -> None:
        """Start it and wait until it answers. Guests of an earlier libvirtd here are found again."""
        if self.pid is None:
            self._prepare()
            self._spawn()
        _wait(lambda: self._answers() or self._died(), timeout)
        if not self._answers():
            raise LibvirtdError(f"libvirtd did not start in {self.directory}: {self._complaint()}")

    def kill(self) -> None:
        """Take the daemon away at once, as a crash would; guests go on."""
        self._end(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Take away the daemon, its guests and its sockets; images and logs stay. Well when it does not run."""
        if not self.directory.exists():
            return
        # The daemon first: it would tell the world of guests that die, and start what is set to start again.
        self._end(self.pid, signal.SIGTERM)
        for guest in list(self._guests()):
            self._end(guest, signal.SIGTERM)
        # What a new daemon would take for running guests. The namespace and its mounts went with the last process.
        shutil.rmtree(self.directory / "run", ignore_errors=True)
        self._pid_file.unlink(missing_ok=True)

    def _prepare(self) -> None:
        if len(os.fsencode(self.socket)) > SOCKET_LIMIT:
            raise LibvirtdError(f"{self.socket} is longer than the {SOCKET_LIMIT} bytes of a socket's path; move it")
        hidden = [place for place in MOUNTS if str(self.directory).startswith(place + "/")]
        if hidden:
            raise LibvirtdError(f"{self.directory} lies in {hidden[0]}, which libvirtd sees otherwise; choose another")
        if shutil.which("libvirtd") is None:
            raise LibvirtdError("libvirtd is not installed: apt-get install libvirt-daemon")
        for folder in (*MOUNTS.values(), *FOLDERS):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        for place in MOUNTS:
            Path(place).mkdir(parents=True, exist_ok=True)
        (self.directory / "etc/libvirtd.conf").write_text(LIBVIRTD_CONF)
        (self.directory / "etc/qemu.conf").write_text(QEMU_CONF)

    def _spawn(self) -> None:
        # What is mounted later, such as a storage, is seen by it as well.
        argv = ["unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", ENTER, "sh", str(self.directory)]
        for place, folder in MOUNTS.items():
            argv += [folder, place]
        argv += ["--", "libvirtd", "--pid-file", str(self._pid_file)]
        with open(self.directory / "output", "wb") as output:
            self._child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return self.pid is not None and client.connect_ex(str(self.socket)) == 0

    def _died(self) -> bool:
        child = getattr(self, "_child", None)
        return child is not None and child.poll() is not None

    def _complaint(self) -> str:
        lines = (self.directory / "output").read_text(errors="replace").splitlines()
        return lines[-1] if lines else f"see {self.directory / 'log/libvirtd.log'}"

    def _guests(self) -> Iterator[int]:
        for pid_file in (self.directory / "run/libvirt/qemu").glob("*.pid"):
            pid = _running(pid_file, "qemu")
            if pid is not None:
                yield pid

    def _end(self, pid: int | None, first: signal.Signals) -> None:
        for sign in (first, signal.SIGKILL):
            if pid is None or not _alive(pid):
                break
            with contextlib.suppress(ProcessLookupError):  # it may end by itself at any moment
                os.kill(pid, sign)
            _wait(lambda: not _alive(pid), 10)
        if pid is not None and _alive(pid):
            raise LibvirtdError(f"process {pid} of {self.directory} does not end even by SIGKILL")


def _alive(pid: int) -> bool:
    """False for a zombie as well: whoever started it may never ask for its status."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    if stat.rpartition(")")[2].split()[0] != "Z":
        return True
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return False


def _running(pid_file: Path, program: str) -> int | None:
    """The process a file names, if it is still that program: numbers are used again after a crash."""
    try:
        pid = int(pid_file.read_text())
        name = Path(os.readlink(f"/proc/{pid}/exe")).name
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if re.match(program, name) and _alive(pid) else None


def _wait(done: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def main(argv: list[str]) -> int:
    """The command line."""
    if len(argv) != 2 or argv[0] not in ("start", "stop", "uri"):
        print("usage: python -m agents.kvm.private_libvirtd start|stop|uri DIR", file=sys.stderr)
        return 2
    daemon = PrivateLibvirtd(Path(argv[1]))
    try:
        if argv[0] == "start":
            daemon.start()
        elif argv[0] == "stop":
            daemon.stop()
    except LibvirtdError as error:
        print(error, file=sys.stderr)
        return 1
    if argv[0] != "stop":
        print(daemon.uri)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
