"""Ten thousand hostile images and URLs: none is accepted, none breaks anything, time and memory are bound (IMG-04)."""

from __future__ import annotations

import ipaddress
import os
import random
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.node.packing import source_root
from agents.storage import image_sources
from agents.storage.helper import HelperError
from agents.storage.image_format import inspect_image
from agents.storage.image_sources import open_file, open_http
from agents.storage.sftp_helper import _source
from tests.agents.storage import hostile
from tests.support.web import Web, running_web
from zcloud.domain.storage.image_url import Source, source_of
from zcloud.kernel.errors import Refused

FILES, URLS, REDIRECTS = 6000, 3400, 600
CPU_SECONDS, BYTES = 60, 512 << 20


def test_the_image_that_they_are_made_of_is_sound(tmp_path: Path) -> None:
    """Else all of them were refused for a reason of its own."""
    for seed in range(20):
        disk = tmp_path / f"{seed}.qcow2"
        disk.write_bytes(hostile.sound(random.Random(seed)))
        assert inspect_image(str(disk), "qcow2") >= 1 << 20
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(disk)], check=True)


def test_files() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))

    command = [sys.executable, "-m", "tests.agents.storage.hostile", "20261120", str(FILES)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, cwd=source_root())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"refused {FILES} of {FILES}, in 13 ways" in done.stdout


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Names that lead inside, and all that was connected to."""
    found: list[Any] = []
    really = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host == "rebind.example":
            mapped = (socket.AF_INET6, 1, 6, "", ("::ffff:10.0.0.7", port, 0, 0))
            return [mapped, (socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]
        if str(host).rstrip(".").lower() in ("localhost", "ip6-localhost"):
            return really("127.0.0.1", port, *rest, **more)
        more["flags"] = socket.AI_NUMERICHOST  # no name server is asked for nonsense
        return really(host, port, *rest, **more)

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        found.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(image_sources.socket, "getaddrinfo", look_up)
    monkeypatch.setattr(image_sources.socket, "create_connection", connect)
    return found


def at_the_door(url: str) -> Source | None:
    """What AddImage would make of it; None when it refuses."""
    try:
        return source_of(url, "", "", has_key=False)
    except Refused:
        return None


def test_urls(dialled: list[Any], tmp_path: Path) -> None:
    """Those that pass the door are refused where they are fetched, before anything is connected to."""
    chance, passed = random.Random(7), 0
    (tmp_path / "srv").mkdir()
    for _ in range(URLS):
        url = hostile.url(chance)
        source = at_the_door(url)
        passed += source is not None
        # What is refused at the door must be refused behind it as well: not every way in leads through the door.
        request = {"image_url": source.url if source else url, "url": str(tmp_path), "allowed_paths": ["/srv"]}
        with pytest.raises(HelperError) as caught, _source(request, [])(0, ""):
            pytest.fail(f"{url!r} was opened")
        good = caught.value.reason in ("REFUSED", "INVALID", "NOT_FOUND") or "cannot be resolved" in str(caught.value)
        assert good, (url, caught.value)
    assert dialled == []
    assert passed > URLS // 10


def test_redirects() -> None:
    """An address that is allowed redirects to one that is not."""
    chance = random.Random(8)
    with running_web() as web:
        allowed = [ipaddress.ip_network("127.0.0.1/32")]
        for n in range(REDIRECTS):
            target = hostile.url(chance)
            while "127.0.0.1" in target or "localhost" in target.lower() or not _leads_away(target):
                target = hostile.url(chance)
            _answer(web, f"/{n}", target)
            with pytest.raises(HelperError), open_http(web.url(f"/{n}"), allowed):
                pytest.fail(f"{target!r} was opened")
        assert len(web.requests) == REDIRECTS


def _leads_away(target: str) -> bool:
    """Not to the server itself, as a path or one of the many names of its address."""
    names = ("2130706433", "0x7f", "7f00:1", "7f00:0001", "127.1", "0177.", "017700000001", "rebind")
    return (
        not target.endswith("://")
        and ":///" not in target
        and "://" in target
        and target.isascii()
        and not any(name in target for name in names)
    )


def _answer(web: Web, path: str, target: str) -> None:
    clean = target.replace("\r", "").replace("\n", "").replace("\0", "")
    web.redirect(path, clean)


def test_paths_of_the_servers_own(tmp_path: Path) -> None:
    """Links, devices, pipes, hidden files, and all ways out of the directory."""
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    (allowed / "sub").mkdir(parents=True)
    secret.write_bytes(b"secret")
    (allowed / ".hidden").write_bytes(b"x")
    (allowed / "link").symlink_to(secret)
    (allowed / "up").symlink_to("..")
    (allowed / "root").symlink_to("/proc/self/root")
    os.mkfifo(allowed / "pipe")
    chance = random.Random(9)
    steps = ("..", "%2e%2e", "sub", "up", ".", "root", "link", "%2f", "pipe", ".hidden", "", "%00", "sub/../..")
    ends = ("secret", "link", "pipe", ".hidden", "etc/passwd", "", "sub", "up/secret", "dev/zero")
    for _ in range(600):
        way = "/".join([*(chance.choice(steps) for _ in range(chance.randrange(4))), chance.choice(ends)])
        with pytest.raises(HelperError), open_file(f"file://{allowed}/{way}", [str(allowed)]):
            pytest.fail(f"{way!r} was opened")
