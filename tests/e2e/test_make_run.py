"""make run, twice: the second goes on with what the first has made, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sshd import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def run(directory: Path, port: int) -> str:
    argv = [sys.executable, "-m", "zcloud.cli.demo", "--once", "--data", str(directory)]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(directory),
        "ZCLOUD_SERVER": f"127.0.0.1:{port}",
    }
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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


def test_twice(tmp_path_factory: pytest.TempPathFactory) -> None:
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
        assert left_over(directory) == []
        assert {p.name for p in Path("/sys/class/net").iterdir()} == before
    finally:
        shutil.rmtree(directory, ignore_errors=True)
