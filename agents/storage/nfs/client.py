"""Which client a host has: its kernel's, or the one in user space; and how an export is mounted with either (PS-07)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

from agents.runtime.children import gone
from agents.runtime.task import TaskError

KERNEL, USER = "Kernel", "UserSpace"
MOUNT_SECONDS = 90
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
ROOT = str(Path(__file__).resolve().parents[3])
FUSE = Path("/dev/fuse")


async def find() -> str:
    """Kernel, where it has NFS or can load it, else UserSpace; empty where there is neither."""
    if await _kernel_has_it():
        return KERNEL
    return USER if await asyncio.to_thread(FUSE.exists) else ""


async def _kernel_has_it() -> bool:
    lines = await asyncio.to_thread(Path("/proc/filesystems").read_text)
    if {"nfs", "nfs4"} & set(lines.split()):
        return True
    if shutil.which("modprobe", path=PATH) is None:
        return False
    status, _ = await _run(["modprobe", "--quiet", "nfs"])
    return status == 0


async def _run(argv: list[str], seconds: float = MOUNT_SECONDS, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C", "PATH": PATH, **environment},
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    except BaseException:
        # With mount.nfs, which would go on by itself, and mount it when nobody expects that any more.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await gone(process)
        raise
    return process.returncode or 0, output.decode("utf-8", "replace").strip()


async def mount(url: str, options: str, path: Path, *, seconds: float = MOUNT_SECONDS) -> None:
    """UNREACHABLE when the server does not answer, FAILED with the reason when it does not let us."""
    client = await find()
    try:
        if client == KERNEL:
            await _by_kernel(url, options, path, seconds)
        elif client == USER:
            await _by_user(url, options, path, seconds)
        else:
            text = "this host's kernel has neither NFS nor FUSE; have it load the module nfs or fuse"
            raise TaskError("FAILED", text)
    except TimeoutError:
        text = f"{url} could not be mounted in {seconds:.0f} s; is its server there?"
        raise TaskError("UNREACHABLE", text) from None


async def _by_kernel(url: str, options: str, path: Path, seconds: float) -> None:
    if shutil.which("mount.nfs", path=PATH) is None:
        raise TaskError("FAILED", f"{url} cannot be mounted: install the package nfs-common on the host")
    argv = ["mount", "-t", "nfs", *(["-o", options] if options else []), "--", url, str(path)]
    status, output = await _run(argv, seconds)
    if status != 0:
        raise TaskError("FAILED", f"{url} cannot be mounted at {path}: {output[-400:]}")


async def _by_user(url: str, options: str, path: Path, seconds: float) -> None:
    """By a process that goes into the background as soon as all is well."""
    argv = [sys.executable, "-m", "agents.storage.nfs.fuse", url, str(path), options]
    status, output = await _run(argv, seconds, PYTHONPATH=ROOT)
    if status != 0:
        raise TaskError("FAILED", f"{url} cannot be mounted at {path}: {output[-400:]}")


async def discard(path: Path) -> None:
    """Take away a mount from under whoever still has files open there."""
    await _umount("--lazy", path)


async def unmount(path: Path) -> None:
    """REFUSED while somebody has files open there."""
    await _umount("--", path)


async def _umount(how: str, path: Path) -> None:
    try:
        status, output = await _run(["umount", *dict.fromkeys([how, "--"]), str(path)])
    except TimeoutError:
        raise TaskError("UNREACHABLE", f"{path} could not be unmounted in {MOUNT_SECONDS} s") from None
    if status != 0 and "not mounted" not in output:  # by somebody else, meanwhile
        reason = "REFUSED" if "busy" in output else "FAILED"
        raise TaskError(reason, f"{path} cannot be unmounted: {output[-400:]}")


def user_of(path: Path) -> str:
    """A process that has a file open there, as far as this can be seen without asking what is mounted."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # the process may end meanwhile, and a file may be closed
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{descriptor}").startswith(f"{path}/"):
                        return pid
    return ""


def mounted_at(path: Path) -> str:
    """The source of the newest mount there; empty when there is none."""
    found = ""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            source, place = line.split(" ")[:2]
            if place == str(path):
                found = source
    return found
