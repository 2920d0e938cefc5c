"""A private OpenSSH server on a port, with keys of its own: `-m agents.node.private_sshd start DIR PORT [ADDRESS]`.

For trials and tests of what is done over SSH, on a machine whose own sshd must stay as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0


@dataclass(frozen=True)
class PrivateSshd:
    """Where the server's files are; DIR/client_key is the private key that it lets in as root."""

    directory: Path
    port: int
    address: str = "127.0.0.1"

    @property
    def client_key(self) -> str:
        return (self.directory / "client_key").read_text()

    @property
    def host_key(self) -> str:
        """The public host key in OpenSSH form, without the comment."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def pid(self) -> int | None:
        """The server's process, if it lives; the pid file alone proves nothing after a reboot."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            pid = int((self.directory / "pid").read_text())
            if str(self.directory / "config").encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def start(self) -> None:
        """Start it, unless it runs; returns when it accepts connections."""
        if self.pid() is not None:
            return
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise RuntimeError("sshd is not installed; install the package openssh-server")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("host_key", "client_key"):
            if not (self.directory / name).exists():
                key = str(self.directory / name)
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "zcloud", "-f", key], check=True)
        shutil.copyfile(self.directory / "client_key.pub", self.directory / "authorized_keys")
        (self.directory / "config").write_text(self._config())
        # Compiled into sshd, which refuses to start without it; systemd makes it on other machines.
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
        for old in (self.directory / "pid", self.log):
            old.unlink(missing_ok=True)
        argv = [program, "-f", str(self.directory / "config"), "-E", str(self.log)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        self._wait()

    def _config(self) -> str:
        # Passwords are asked for so that a wrong one can be seen refused; without PAM none of a locked root is right.
        return f"""\
Port {self.port}
ListenAddress {self.address}
HostKey {self.directory}/host_key
PidFile {self.directory}/pid
AuthorizedKeysFile {self.directory}/authorized_keys
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
PasswordAuthentication yes
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 10):
                if self.pid() is not None:
                    return
            # It goes into the background before it binds, so that its exit status says nothing.
            if self.log.exists() and "Cannot bind any address" in self.log.read_text():
                break
            time.sleep(0.02)
        last = self.log.read_text().splitlines()[-3:] if self.log.exists() else []
        raise RuntimeError(f"sshd on port {self.port} did not start: {'; '.join(last)}")

    def drop_connections(self) -> None:
        """Cut every connection, as a failing network would; what runs in them is left to notice it."""
        pid = self.pid()
        _kill([child for child in (_descendants(pid) if pid else []) if _is_sshd(child)])

    def stop(self) -> None:
        """Stop it and every connection; keys and log stay."""
        pid = self.pid()
        if pid is None:
            return
        # Looked up before, since they lose their parent; the listener first, so that no new one comes.
        sessions = _descendants(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while self.pid() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        _kill([*sessions, *([pid] if self.pid() else [])])
        (self.directory / "pid").unlink(missing_ok=True)


def _descendants(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The command, in parentheses, may hold anything.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def _is_sshd(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    return False


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="private_sshd", description="A private OpenSSH server on a port.")
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("address", nargs="?", default="127.0.0.1")
    options = parser.parse_args(argv)
    server = PrivateSshd(options.directory.resolve(), options.port, options.address)
    try:
        server.start() if options.action == "start" else server.stop()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
