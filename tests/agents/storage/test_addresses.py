"""Where images may be fetched from: public addresses, and the networks and directories that are allowed."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from agents.storage import image_sources
from agents.storage.helper import HelperError
from agents.storage.image_sources import check_address, open_file, open_http


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are_free(address: str) -> None:
    assert check_address(address, [])


INSIDE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "198.18.0.1",
    "192.0.2.1",
    "::",
    "::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe",
]


@pytest.mark.parametrize("address", INSIDE)
def test_inside_addresses_are_refused(address: str) -> None:
    assert not check_address(address, [])
    assert not check_address(address, [ipaddress.ip_network("203.0.113.0/24")])


def test_an_allowed_network_opens_itself_only() -> None:
    allowed = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/16")]
    assert check_address("10.9.9.9", allowed)
    assert check_address("::ffff:10.9.9.9", allowed)
    assert check_address("fd00::1", allowed)
    assert not check_address("192.168.0.1", allowed)
    assert not check_address("169.254.169.254", allowed)


def test_the_checked_address_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere at the second look-up gains nothing, since there is none."""
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(socket.AF_INET, 1, 6, "", (next(answers), 80))])
    dialled: list[object] = []

    def dial(address: tuple[str, int], *_rest: object) -> socket.socket:
        dialled.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(image_sources.socket, "create_connection", dial)
    with (
        pytest.raises(HelperError, match=r"http://a\.example/x cannot be reached"),
        open_http("http://a.example/x", []),
    ):
        pass
    assert dialled == [("93.184.216.34", 80)]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://a.example/x", "INVALID"),
        ("nbd://a.example/x", "INVALID"),
        ("json:{}", "INVALID"),
        ("http:///x", "INVALID"),
        ("http://[::1/x", "INVALID"),
        ("http://a.example:70000/x", "INVALID"),
        ("http://user:hidden@a.example/x", "INVALID"),
        ("http://2130706433/x", "REFUSED"),
        ("http://0x7f.1/x", "REFUSED"),
        ("http://[::ffff:127.0.0.1]/x", "REFUSED"),
        ("http://localhost/x", "REFUSED"),
    ],
)
def test_urls_that_lead_nowhere_good(url: str, reason: str) -> None:
    with pytest.raises(HelperError) as caught, open_http(url, []):
        pass
    assert caught.value.reason == reason
    assert "hidden" not in str(caught.value)


def test_what_is_secret_in_a_url_is_not_said() -> None:
    url, loopback = "http://127.0.0.1:1/x?signature=hidden", [ipaddress.ip_network("127.0.0.0/8")]
    with pytest.raises(HelperError, match=r"127\.0\.0\.1:1/x cannot") as caught, open_http(url, loopback):
        pass
    assert "hidden" not in str(caught.value)


def file_error(url: str, *allowed: Path | str) -> str:
    with pytest.raises(HelperError) as caught, open_file(url, [str(path) for path in allowed]):
        pass
    return caught.value.reason


def test_files_are_taken_from_below_the_allowed_directories_only(tmp_path: Path) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "allowed-not"
    for directory in (allowed, other, allowed / ".hidden"):
        directory.mkdir(parents=True)
        (directory / "image").write_bytes(b"content")
    (allowed / "out").symlink_to(other / "image")
    (allowed / "outdir").symlink_to(other)
    (allowed / "in").symlink_to(allowed / "image")
    (allowed / "a%b").write_bytes(b"percent")
    os.mkfifo(allowed / "fifo")

    with open_file(f"file://{allowed}/image", [str(allowed)]) as (reader, length):
        assert (reader.read(100), length) == (b"content", 7)
    with open_file(f"file://localhost{allowed}/in", [str(allowed)]) as (reader, _):
        assert reader.read(100) == b"content"
    with open_file(f"file://{allowed}/a%25b", [str(allowed)]) as (reader, _):
        assert reader.read(100) == b"percent"

    assert file_error(f"file://{allowed}/image") == "REFUSED"
    assert file_error(f"file://{allowed}/image", "relative", "") == "REFUSED"
    assert file_error(f"file://{other}/image", allowed) == "REFUSED"
    assert file_error(f"file://{allowed}/../allowed-not/image", allowed) == "REFUSED"
    assert file_error(f"file://{allowed}/%2e%2e/allowed-not/image", allowed) == "REFUSED"
    assert file_error(f"file://{allowed}/out", allowed) == "REFUSED"
    assert file_error(f"file://{allowed}/outdir/image", allowed) == "REFUSED"
    assert file_error(f"file://{allowed}/.hidden/image", allowed) == "REFUSED"
    assert file_error(f"file://{allowed}/missing", allowed) == "NOT_FOUND"
    assert file_error(f"file://{allowed}/image/below", allowed) == "NOT_FOUND"
    assert file_error(f"file://{allowed}/fifo", allowed) == "INVALID"
    assert file_error(f"file://elsewhere{allowed}/image", allowed) == "INVALID"
    assert file_error("file:relative", allowed) == "INVALID"
    assert file_error(f"file://{allowed}/image%00", allowed) == "INVALID"
    (tmp_path / "link").symlink_to(allowed)
    with open_file(f"file://{allowed}/image", [str(tmp_path / "link")]) as (reader, _):
        assert reader.read(100) == b"content"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/proc/self/environ", "/sys/kernel/notes", "/dev/zero", "/proc/self/root/etc/passwd"]
)
def test_the_system_is_no_image_even_where_everything_is_allowed(path: str) -> None:
    assert file_error(f"file://{path}", "/") == "REFUSED"
    assert file_error(f"file://{path}", "/", os.path.dirname(path)) == "REFUSED"


def test_a_directory_swapped_for_a_link_after_the_check_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for directory in (allowed / "d", secret):
        directory.mkdir(parents=True)
        (directory / "image").write_bytes(b"content")
    real = os.path.realpath

    def swap_after(path: str, **kw: bool) -> str:
        found = real(path, **kw)
        if path.endswith("/image") and not (allowed / "d").is_symlink():
            (allowed / "d").rename(allowed / "gone")
            (allowed / "d").symlink_to(secret)
        return found

    monkeypatch.setattr(os.path, "realpath", swap_after)
    assert file_error(f"file://{allowed}/d/image", allowed) == "REFUSED"
