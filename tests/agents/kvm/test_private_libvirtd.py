"""The private libvirtd: starts, is found again, and leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from agents.kvm.private_libvirtd import LibvirtdError, PrivateLibvirtd, main
from tests.support.libvirtd import CACHE

pytestmark = pytest.mark.real


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="zlv-", dir="/tmp"))
    try:
        yield made
    finally:
        PrivateLibvirtd(made).stop()
        shutil.rmtree(made, ignore_errors=True)


def processes_of(folder: Path) -> list[str]:
    """Whatever runs with a file of the folder mounted or open, or named on its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            argv = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (process / "mountinfo").read_text()
        except OSError:
            continue
        if state != "Z" and process.name != str(os.getpid()) and (str(folder) in argv or str(folder) in mounts):
            found.append(argv)
    return found


def test_another_process_finds_it_and_stopping_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if (CACHE / "libvirt").exists():
        shutil.copytree(CACHE / "libvirt", folder / "cache")
    mounts = Path("/proc/self/mountinfo").read_text()
    own = {place: sorted(os.listdir(place)) for place in ("/etc/libvirt", "/var/lib/libvirt") if Path(place).exists()}
    assert main(["start", str(folder)]) == 0
    uri = capsys.readouterr().out.strip()
    again = PrivateLibvirtd(folder)
    assert again.uri == uri
    pid = again.pid
    again.start()
    assert again.pid == pid, "starting what runs changes nothing"
    connection = libvirt.open(uri)
    try:
        connection.createXML(
            "<domain type='qemu'><name>left</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>",
            libvirt.VIR_DOMAIN_START_PAUSED,
        )
    finally:
        connection.close()
    again.kill()
    assert again.pid is None
    assert any("guest=left" in argv for argv in processes_of(folder)), "guests outlive the daemon"
    again.start()
    connection = libvirt.open(uri)
    try:
        assert [domain.name() for domain in connection.listAllDomains()] == ["left"]
    finally:
        connection.close()
    assert main(["stop", str(folder)]) == 0
    assert processes_of(folder) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert {place: sorted(os.listdir(place)) for place in own} == own
    assert main(["stop", str(folder)]) == 0
    # And a new life begins without the old one's guests.
    again.start()
    connection = libvirt.open(uri)
    try:
        assert connection.listAllDomains() == []
    finally:
        connection.close()


def test_a_stranger_that_got_the_old_number_is_left_alone(folder: Path) -> None:
    (folder / "libvirtd.pid").write_text(str(os.getpid()))
    (folder / "run/libvirt/qemu").mkdir(parents=True)
    (folder / "run/libvirt/qemu/x.pid").write_text(str(os.getpid()))
    daemon = PrivateLibvirtd(folder)
    assert daemon.pid is None
    daemon.stop()


def test_a_guest_that_ends_when_it_is_to_be_ended_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = subprocess.Popen(["sleep", "600"])
    kill = os.kill

    def late(pid: int, sign: int) -> None:
        kill(pid, signal.SIGKILL)
        guest.wait()
        kill(pid, sign)

    monkeypatch.setattr(os, "kill", late)
    PrivateLibvirtd(folder)._end(guest.pid, signal.SIGTERM)
    assert guest.returncode == -signal.SIGKILL


def test_a_directory_whose_sockets_would_have_too_long_names_is_refused(folder: Path) -> None:
    with pytest.raises(LibvirtdError, match="107"):
        PrivateLibvirtd(folder / ("x" * 90)).start()


def test_a_directory_that_libvirtd_would_not_see_is_refused() -> None:
    with pytest.raises(LibvirtdError, match="/var/lib/libvirt"):
        PrivateLibvirtd(Path("/var/lib/libvirt/mine")).start()


def test_wrong_words_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["begin", "/tmp"]) == 2
    assert "usage" in capsys.readouterr().err
