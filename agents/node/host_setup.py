"""Runs on a host that becomes a KVM host: installs, starts, stops and removes its agent.

Needs nothing but Python 3.9 and the conversation of the backup storage's helper, with which it is packed together.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from typing import Any

from agents.storage.helper import HelperError, emit

MODULE = "agents.kvm.main"
SYSTEMD = "/run/systemd/system"
# Where agents mount exports.
MOUNTS = "/var/lib/zcloud/nfs"
UNMOUNT_SECONDS = 30.0
STOP_SECONDS = 10.0
ALIVE_SECONDS = 1.0
AGENT_PYTHON = (3, 11)
# What the agent calls, and the Debian package that has it.
PROGRAMS = {
    "libvirtd": "libvirt-daemon-system",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
}
BUILD_PACKAGES = ("python3-venv", "python3-dev", "gcc", "pkg-config", "libvirt-dev")
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Places:
    """Where the files of one host's agent are."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.config = os.path.join(directory, "config.json")
        self.log = os.path.join(directory, "agent.log")
        self.pid = os.path.join(directory, "agent.pid")
        self.mark = os.path.join(directory, "deployed.json")
        self.state = os.path.join(directory, "state")
        self.unit = f"zcloud-agent-{os.path.basename(directory)}.service"
        self.unit_file = f"/etc/systemd/system/{self.unit}"


def check(request: dict[str, Any]) -> dict[str, Any]:
    """Whether this machine can be a host at all, and what of the agent is here already."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine != "x86_64":
        raise HelperError("FAILED", f"a KVM host must be Linux on x86_64, this is {system} on {machine}")
    if os.geteuid() != 0:
        raise HelperError("REFUSED", "the agent is installed by root; give user name root")
    return {"code": os.path.isdir(os.path.join(request["directory"], request["code"]))}


def deploy(request: dict[str, Any]) -> dict[str, Any]:
    """Unpack the code, find or make a Python for it, replace a running agent, see that the new one lives."""
    places = Places(request["directory"])
    os.chmod(places.directory, 0o700)
    code = _unpack(places, request["code"])
    emit({"progress": 30, "detail": "looking for programs"})
    _install_programs()
    with _alone(os.path.dirname(places.directory)):
        python = _interpreter(places, code, request)
    emit({"progress": 85, "detail": "starting the agent"})
    stop_agent(places)
    _write_private(places.config, {**request["config"], "directory": places.state})
    try:
        _start(places, code, python, request.get("watched") or ALIVE_SECONDS)
    except HelperError as error:
        # Whatever the agent wrote, the token must not come back in an error.
        token = request["config"]["token"]
        raise HelperError(error.reason, str(error).replace(token, "[secret]") if token else str(error)) from None
    _write_private(places.mark, {"token_sha256": _token_digest(request)})
    for name in os.listdir(places.directory):
        if name.startswith("agent-") and name != request["code"]:
            _remove(os.path.join(places.directory, name))
    return {}


def status(request: dict[str, Any]) -> dict[str, Any]:
    """Whether the agent of this very deployment runs."""
    places = Places(request["directory"])
    marked = None
    with contextlib.suppress(FileNotFoundError, ValueError), open(places.mark, encoding="utf-8") as file:
        marked = json.load(file).get("token_sha256")
    return {"running": marked == _token_digest(request) and bool(agent_pids(places))}


def remove(request: dict[str, Any]) -> dict[str, Any]:
    """Stop the agent and remove all that it had; the Python environment stays for other agents of this machine."""
    places = Places(request["directory"])
    stop_agent(places)
    if os.path.exists(places.unit_file):
        os.unlink(places.unit_file)
        if os.path.isdir(SYSTEMD):
            _run(["systemctl", "daemon-reload"], "systemd did not read its units again")
    _remove(places.directory)
    try:
        os.rmdir(os.path.dirname(places.directory))
    except OSError:
        return {}  # another agent of this machine may need what is mounted
    unmount(MOUNTS)
    return {}


def unmount(directory: str) -> None:
    """What agents have mounted below it; what is in use, or hangs, stays."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        places = [line.split(" ")[1] for line in file]
    for place in reversed(places):
        if place.startswith(directory + "/"):
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                argv = ["umount", "--", place]
                environment = {**os.environ, "PATH": SEARCH}
                quiet = subprocess.DEVNULL
                subprocess.run(
                    argv, check=True, env=environment, stdin=quiet, stdout=quiet, stderr=quiet, timeout=UNMOUNT_SECONDS
                )
                os.rmdir(place)


OPERATIONS = {"check": check, "deploy": deploy, "status": status, "remove": remove}


def _token_digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(request["config"]["token"].encode()).hexdigest()


def _write_private(path: str, content: dict[str, Any]) -> None:
    part = path + ".part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _unpack(places: Places, name: str) -> str:
    """The code is in a directory named after its content, so that a running agent never sees it change."""
    code = os.path.join(places.directory, name)
    if not os.path.isdir(code):
        part = code + ".part"
        _remove(part)
        with tarfile.open(code + ".tar.gz") as archive:
            archive.extractall(part)  # noqa: S202 (made by the node a moment ago)
        os.rename(part, code)
    return code


@contextlib.contextmanager
def _alone(directory: str) -> Iterator[None]:
    """One installation at a time: two agents of one machine share the Python environment."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _run(argv: list[str], failure: str, **environment: str) -> None:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
        check=False,
    )
    if done.returncode != 0:
        last = " | ".join(done.stdout.decode("utf-8", "replace").strip().splitlines()[-5:])
        raise HelperError("FAILED", f"{failure}: {last[-1500:]}")


def _apt_install(packages: list[str]) -> None:
    if not shutil.which("apt-get", path=SEARCH):
        raise HelperError("FAILED", f"this machine has no apt-get; install by hand what has {', '.join(packages)}")
    emit({"progress": 40, "detail": f"installing {', '.join(packages)}"})
    _run(["apt-get", "-q", "update"], "apt-get update failed", DEBIAN_FRONTEND="noninteractive")
    argv = ["apt-get", "-q", "install", "-y", "--no-install-recommends", "--", *packages]
    _run(argv, "apt-get install failed", DEBIAN_FRONTEND="noninteractive")


def _install_programs() -> None:
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program, path=SEARCH)]
    if missing:
        _apt_install(missing)
    wanted = _nfs_packages()
    if wanted:
        try:
            _apt_install(wanted)
        except HelperError as error:
            # A host without NFS is a host; whoever attaches such a storage is told.
            emit({"progress": 45, "detail": f"no NFS here: {error}"})


def _nfs_packages() -> list[str]:
    """What is missing to mount NFS: by the kernel where it can, else in user space."""
    with open("/proc/filesystems", encoding="ascii") as file:
        known = "nfs" in file.read().split()
    modprobe = shutil.which("modprobe", path=SEARCH)
    if modprobe and not known:
        known = subprocess.run([modprobe, "-n", "-q", "nfs"], check=False).returncode == 0
    if known:
        return [] if shutil.which("mount.nfs", path=SEARCH) else ["nfs-common"]
    return [] if glob.glob("/usr/lib/*/libnfs.so.1[34]") else ["libnfs13", "libfuse3-3"]


def _can_run(python: str, code: str, modules: list[str]) -> bool:
    program = f"import sys; sys.path.insert(0, sys.argv[1]); assert sys.version_info >= {AGENT_PYTHON}; "
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        argv = [python, "-B", "-c", program + "import " + ", ".join(modules), code]
        done = subprocess.run(argv, cwd="/", timeout=120, check=False, stdin=subprocess.DEVNULL, capture_output=True)
        return done.returncode == 0
    return False


def _interpreter(places: Places, code: str, request: dict[str, Any]) -> str:
    """A Python that has what the agent imports: the node's own where this is its machine, else one made here."""
    environment = os.path.join(os.path.dirname(places.directory), "venv")
    own = os.path.join(environment, "bin", "python")
    emit({"progress": 50, "detail": "looking for a Python with the agent's packages"})
    for python in (request["python"], own):
        if os.path.isabs(python) and os.path.exists(python) and _can_run(python, code, request["modules"]):
            return str(python)
    _apt_install(list(BUILD_PACKAGES))
    emit({"progress": 60, "detail": "making the agent's Python environment"})
    _run(["python3", "-m", "venv", "--clear", environment], f"the Python environment {environment} cannot be made")
    emit({"progress": 65, "detail": "installing Python packages"})
    argv = [own, "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check", *request["requirements"]]
    _run(argv, "pip install failed")
    if not _can_run(own, code, request["modules"]):
        needed = ".".join(map(str, AGENT_PYTHON))
        raise HelperError("FAILED", f"{own} cannot run the agent: it needs Python {needed} or newer and its packages")
    return own


def agent_pids(places: Places) -> list[int]:
    """The processes that run with this agent's configuration; a pid file alone proves nothing."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
                if MODULE.encode() in words and os.fsencode(places.config) in words:
                    found.append(int(name))
    return found


def stop_agent(places: Places) -> None:
    """Ask, wait, insist."""
    if os.path.isdir(SYSTEMD) and os.path.exists(places.unit_file):
        _run(["systemctl", "disable", "--now", "--", places.unit], f"systemd did not stop {places.unit}")
    deadline = time.monotonic() + STOP_SECONDS
    asked: set[int] = set()
    while pids := agent_pids(places):
        for pid in pids:
            late = time.monotonic() > deadline
            if late or pid not in asked:
                asked.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.05)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(places.pid)


def _start(places: Places, code: str, python: str, watched: float) -> None:
    argv = [python, "-m", MODULE, "--config", places.config]
    begin = os.path.getsize(places.log) if os.path.exists(places.log) else 0
    if os.path.isdir(SYSTEMD):
        with open(places.unit_file, "w", encoding="utf-8") as file:
            file.write(_unit(places, code, argv))
        _run(["systemctl", "daemon-reload"], "systemd did not read its units again")
        _run(["systemctl", "enable", "--now", "--", places.unit], f"systemd did not start {places.unit}")
    else:
        with open(places.log, "ab") as log:
            # A session of its own: it outlives the SSH connection, as under nohup and setsid.
            process = subprocess.Popen(
                argv,
                cwd=code,
                env={"PATH": SEARCH, "HOME": "/root", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONPATH": code},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with open(places.pid, "w", encoding="ascii") as file:
            file.write(str(process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(watched)
    _see_that_it_lives(places, begin, watched)


def _see_that_it_lives(places: Places, begin: int, watched: float) -> None:
    if os.path.isdir(SYSTEMD):
        time.sleep(watched)
    if agent_pids(places):
        return
    last = ""
    with contextlib.suppress(FileNotFoundError), open(places.log, encoding="utf-8", errors="replace") as file:
        file.seek(begin)
        last = " | ".join(file.read().strip().splitlines()[-10:])
    raise HelperError("FAILED", f"the agent was started and ended at once; its log {places.log} ends: {last[-2000:]}")


def _unit(places: Places, code: str, argv: list[str]) -> str:
    # Only the agent itself is stopped with it: guests and DHCP servers that it started must go on.
    return f"""\
[Unit]
Description=zcloud KVM agent {os.path.basename(places.directory)}
Wants=network-online.target
After=network-online.target libvirtd.service

[Service]
WorkingDirectory={code}
Environment=PYTHONPATH={code} PYTHONUNBUFFERED=1
ExecStart={" ".join(argv)}
StandardOutput=append:{places.log}
StandardError=append:{places.log}
Restart=always
RestartSec=2
KillMode=process

[Install]
WantedBy=multi-user.target
"""
