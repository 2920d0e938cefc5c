"""make run, again and again: each goes on with what is there, and nothing is left behind, whenever it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def started(directory: Path, port: int, *options: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "zcloud.cli.demo", "--data", str(directory), *options]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(directory),
        "ZCLOUD_SERVER": f"127.0.0.1:{port}",
    }
    # A shell's job in the background is deaf to Ctrl-C, and so is whatever it starts: a suite may be run as one.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    finally:
        signal.signal(signal.SIGINT, heard)


def run(directory: Path, port: int) -> str:
    with started(directory, port, "--once") as process:
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def interrupted(directory: Path, port: int, at: str) -> str:
    """Ctrl-C as soon as a line has these words."""
    with started(directory, port) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if at in line:
                process.send_signal(signal.SIGINT)
                break
        said += process.communicate(timeout=600)[0]
    assert process.returncode == 130, said
    return said


def left_over(directory: Path) -> list[str]:
    """Processes that were started from this directory, and devices."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in words:
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_again_and_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    import shutil
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="zrun-", dir="/tmp"))
    before = {p.name for p in Path("/sys/class/net").iterdir()}
    try:
        # A guest image that was built before is found, as it is on the second `make run` of a checkout.
        built = Path(__file__).parents[2] / "var/cache"
        (directory / "guest").mkdir()
        for name in ("guest.qcow2", "guest.qcow2.stamp"):
            if (built / name).exists():
                shutil.copy(built / name, directory / "guest" / name)
        port = free_port()
        first = run(directory, port)
        assert "vm_instance.Created" in first
        second = run(directory, port)
        assert "vm_instance_status." in second
        assert "Everything is stopped" in interrupted(directory, port, "VM instance ...")
        end = time.monotonic() + 60
        while left := left_over(directory):  # what was killed takes a moment to end
            assert time.monotonic() < end, left
            time.sleep(0.05)
        # What an earlier test has left to the kernel may be gone by now.
        assert {p.name for p in Path("/sys/class/net").iterdir()} <= before
    finally:
        shutil.rmtree(directory, ignore_errors=True)
