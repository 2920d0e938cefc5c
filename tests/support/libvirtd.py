"""A private libvirtd and the guest image for a test: made once, and gone whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agents.kvm.private_libvirtd import PrivateLibvirtd

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "var/cache"


def guest_image() -> Path:
    """The small bootable image; built when it is not there yet."""
    image = CACHE / "guest.qcow2"
    subprocess.run([ROOT / "tools/guest_image.sh", image], check=True)
    return image


def guest_disk(path: Path) -> Path:
    """A disk of its own for one guest, over the image."""
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(guest_image()), "--", str(path)]
    subprocess.run(argv, check=True)
    return path


@contextlib.contextmanager
def running_libvirtd() -> Iterator[PrivateLibvirtd]:
    """One that has no guests yet. Its directory has a short name: sockets lie below."""
    directory = Path(tempfile.mkdtemp(prefix="zlv-", dir="/tmp"))
    # What QEMU can do takes libvirtd eight seconds to find out, so that is kept from one test to the next.
    known = CACHE / "libvirt"
    daemon = PrivateLibvirtd(directory)
    try:
        if known.exists():
            shutil.copytree(known, directory / "cache")
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        with contextlib.suppress(FileExistsError):
            if (directory / "cache/qemu/capabilities").exists():
                shutil.copytree(directory / "cache", known)
        shutil.rmtree(directory, ignore_errors=True)
