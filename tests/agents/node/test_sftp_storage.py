"""Backup storages on a real sshd: connect, fetch, delete; and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from agents.node.sftp_storage import ConnectSftpBackupStorage, DeleteImage, DownloadImage
from agents.runtime.task import TaskError
from tests.agents.storage import images
from tests.agents.storage.images import MIB
from tests.support.sshd import target_of
from tests.support.tasks import failure, new_work, probe, run
from tests.support.web import Web
from zcloud.v1.backup_storage_task_pb2 import ConnectSftpBackupStorageTask
from zcloud.v1.image_task_pb2 import DeleteImageTask, DownloadImageTask

pytestmark = pytest.mark.real
IMAGE = "a" * 32


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def task(sshd: PrivateSshd, store: Path, url: str, format: str = "qcow2", **fields: Any) -> DownloadImageTask:
    defaults = {"max_bytes": 100 * MIB, "allowed_networks": ["127.0.0.0/8"]}
    return DownloadImageTask(
        target=target_of(sshd),
        storage_url=str(store),
        image_uuid=IMAGE,
        image_url=url,
        format=format,
        **(defaults | fields),
    )


def facts(result: Any) -> tuple[str, int, int, str]:
    """What is said of the image; the disk belongs to others as well."""
    return result.install_path, result.size, result.actual_size, result.sha256


def left_in(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in (store / "images").rglob("*")) if store.exists() else []


def wait_until_nothing_is_left(store: Path) -> None:
    """The helper notices on its own that nobody listens any more."""
    for _ in range(3000):
        if not left_in(store):
            return
        time.sleep(0.02)
    raise AssertionError(left_in(store))


def test_connect_makes_the_directory_and_measures_it(sshd: PrivateSshd, tmp_path: Path) -> None:
    store = tmp_path / "new" / "store"
    args = ConnectSftpBackupStorageTask(target=target_of(sshd), url=str(store))
    for _ in range(2):
        result = run(ConnectSftpBackupStorage(), args)
        assert result.total_capacity == shutil.disk_usage(store).total
        assert 0 < result.available_capacity <= result.total_capacity
        assert result.host_key == sshd.host_key
    assert sorted(path.name for path in store.iterdir()) == [".zcloud", "images"]
    helper = next((store / ".zcloud").iterdir())
    helper.write_text("raise SystemExit('altered')")
    assert run(ConnectSftpBackupStorage(), args).total_capacity > 0


@pytest.mark.parametrize("url", ["", "/", "relative", "/a/../b", "/a//b", "/etc/zcloud", "/proc", "/a\nb", "-x"])
def test_directories_that_no_storage_may_have(sshd: PrivateSshd, url: str) -> None:
    args = ConnectSftpBackupStorageTask(target=target_of(sshd), url=url)
    assert failure(ConnectSftpBackupStorage(), args).reason == "INVALID"


def test_a_storage_whose_directory_is_gone_is_not_made_anew(sshd: PrivateSshd, tmp_path: Path, web: Web) -> None:
    store = tmp_path / "unmounted"
    url = web.serve("/a", b"x")
    assert failure(DownloadImage(), task(sshd, store, url)).reason == "NOT_FOUND"
    gone = DeleteImageTask(target=target_of(sshd), storage_url=str(store), install_path=f"{store}/images/a/a.raw")
    assert failure(DeleteImage(), gone).reason == "NOT_FOUND"
    assert not store.exists()


def test_download_twice_then_delete_twice(sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web) -> None:
    source = images.qcow2(tmp_path / "a.qcow2", 64 * MIB, written=3)
    args = task(sshd, store, web.serve("/a", source.read_bytes()) + "?sig=1", sha256=sha256(source).upper())
    seen: list[int] = []
    assert probe(DownloadImage(), args) is None
    assert left_in(store) == []
    result = run(DownloadImage(), args, new_work(lambda percent, _: seen.append(percent)))
    path = store / "images" / IMAGE / f"{IMAGE}.qcow2"
    assert (result.install_path, result.size, result.actual_size) == (str(path), 64 * MIB, source.stat().st_size)
    assert result.sha256 == sha256(source) == sha256(path)
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert facts(probe(DownloadImage(), args)) == facts(result)
    assert facts(run(DownloadImage(), args)) == facts(result)
    assert result.total_capacity == shutil.disk_usage(store).total
    assert web.requests == ["/a?sig=1"]

    delete = DeleteImageTask(target=target_of(sshd), storage_url=str(store), install_path=str(path))
    assert probe(DeleteImage(), delete) is None
    for _ in range(2):
        run(DeleteImage(), delete)
        assert left_in(store) == []
    assert probe(DeleteImage(), delete) is not None


def test_an_image_that_was_spoilt_is_fetched_again(sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web) -> None:
    source = images.raw(tmp_path / "a.raw")
    args = task(sshd, store, web.serve("/a", source.read_bytes()), "raw")
    path = Path(run(DownloadImage(), args).install_path)
    path.write_bytes(b"\xff" * source.stat().st_size)
    assert probe(DownloadImage(), args) is None
    assert run(DownloadImage(), args).sha256 == sha256(source) == sha256(path)


def test_what_a_killed_helper_left_is_cleared_away(sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web) -> None:
    source = images.raw(tmp_path / "a.raw")
    directory = store / "images" / IMAGE
    directory.mkdir(parents=True)
    (directory / f"{IMAGE}.raw.part").write_bytes(b"half")
    run(DownloadImage(), task(sshd, store, web.serve("/a", source.read_bytes()), "raw"))
    assert sorted(path.name for path in directory.iterdir()) == [f"{IMAGE}.raw", f"{IMAGE}.raw.json"]


def test_an_image_that_should_be_another_is_fetched_again(
    sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web
) -> None:
    first, second = images.raw(tmp_path / "a.raw"), images.raw(tmp_path / "b.raw", 3 * MIB)
    run(DownloadImage(), task(sshd, store, web.serve("/a", first.read_bytes()), "raw"))
    args = task(sshd, store, web.serve("/a", second.read_bytes()), "raw", sha256=sha256(second))
    assert probe(DownloadImage(), args) is None
    assert run(DownloadImage(), args).actual_size == 3 * MIB


def test_an_image_of_the_servers_own_files(sshd: PrivateSshd, store: Path, tmp_path: Path) -> None:
    source = images.iso(tmp_path / "a.iso")
    args = task(sshd, store, f"file://{source}", "iso", allowed_paths=[str(tmp_path)])
    result = run(DownloadImage(), args)
    assert (result.size, result.sha256) == (source.stat().st_size, sha256(source))
    assert source.exists()


def chunked(content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.protocol_version = "HTTP/1.1"
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))

    return answer


def test_redirects_and_bodies_without_a_length(sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web) -> None:
    source = images.raw(tmp_path / "a.raw", 3 * MIB)
    web.answers["/end"] = chunked(source.read_bytes())
    for hop in range(5):
        web.redirect(f"/{hop}", f"/{hop + 1}" if hop < 4 else web.url("/end"))
    assert run(DownloadImage(), task(sshd, store, web.url("/0"), "raw")).actual_size == 3 * MIB
    assert len(web.requests) == 6


def wrong(name: str, web: Web, tmp_path: Path) -> tuple[str, str, dict[str, Any], str]:
    """(URL, format, further fields of the task, reason of the failure) of one thing that goes wrong."""
    disk = images.raw(tmp_path / "disk")
    good = web.serve("/good", disk.read_bytes())
    size = disk.stat().st_size
    web.redirect("/loop", "/loop")
    web.answers["/chunked"] = chunked(disk.read_bytes())
    web.answers["/503"] = lambda request: request.send_error(503)
    web.answers["/403"] = lambda request: request.send_error(403)
    web.answers["/nonsense"] = lambda request: request.wfile.write(b"SSH-2.0-nonsense\r\n") and None
    backed = images.qcow2(tmp_path / "backed", 8 * MIB, "-b", str(images.qcow2(tmp_path / "b")), "-F", "qcow2")
    cases: dict[str, tuple[str, str, dict[str, Any], str]] = {
        "missing": (web.url("/missing"), "raw", {}, "NOT_FOUND"),
        "forbidden": (web.url("/403"), "raw", {}, "REFUSED"),
        "broken server": (web.url("/503"), "raw", {}, "UNREACHABLE"),
        "no http": (web.url("/nonsense"), "raw", {}, "UNREACHABLE"),
        "nobody listens": ("http://127.0.0.1:1/a", "raw", {}, "UNREACHABLE"),
        "unknown name": ("http://no-such-name.invalid/a", "raw", {}, "UNREACHABLE"),
        "address inside": (good, "raw", {"allowed_networks": []}, "REFUSED"),
        "redirect inside": (web.redirect("/in", "http://169.254.169.254/latest"), "raw", {}, "REFUSED"),
        "redirect to a file": (web.redirect("/file", "file:///etc/passwd"), "raw", {}, "INVALID"),
        "redirects without end": (web.url("/loop"), "raw", {}, "REFUSED"),
        "cut off": (web.serve("/short", b"x" * 4096, length=8192), "raw", {}, "UNREACHABLE"),
        "too big by its length": (good, "raw", {"max_bytes": size - 1}, "NO_SPACE"),
        "too big while it comes": (web.url("/chunked"), "raw", {"max_bytes": size - 1}, "NO_SPACE"),
        "bigger than the disk": (web.serve("/huge", b"", length=1 << 60), "raw", {"max_bytes": 0}, "NO_SPACE"),
        "other checksum": (good, "raw", {"sha256": "0" * 64}, "INVALID"),
        "other format": (good, "qcow2", {}, "INVALID"),
        "backing file": (web.serve("/backed", backed.read_bytes()), "qcow2", {}, "INVALID"),
        "web page": (web.serve("/page", b"<html>log in</html>"), "raw", {}, "INVALID"),
        "unknown format": (good, "vmdk", {}, "INVALID"),
        "strange image name": (good, "raw", {"image_uuid": "../x"}, "INVALID"),
        "strange network": (good, "raw", {"allowed_networks": ["inside"]}, "INVALID"),
        "file not allowed": (f"file://{disk}", "raw", {}, "REFUSED"),
        "file missing": (f"file://{tmp_path}/none", "raw", {"allowed_paths": [str(tmp_path)]}, "NOT_FOUND"),
    }
    return cases[name]


WRONG = [
    "missing", "forbidden", "broken server", "no http", "nobody listens", "unknown name", "address inside",
    "redirect inside", "redirect to a file", "redirects without end", "cut off", "too big by its length",
    "too big while it comes", "bigger than the disk", "other checksum", "other format", "backing file", "web page",
    "unknown format", "strange image name", "strange network", "file not allowed", "file missing",
]  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_failed_download_says_why_and_leaves_nothing(
    sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web, name: str
) -> None:
    url, format, fields, reason = wrong(name, web, tmp_path)
    args = task(sshd, store, url, format)
    args.MergeFrom(DownloadImageTask(**{key: value for key, value in fields.items() if not isinstance(value, list)}))
    if "max_bytes" in fields:
        args.max_bytes = fields["max_bytes"]
    for key in ("allowed_networks", "allowed_paths"):
        if key in fields:
            del getattr(args, key)[:]
            getattr(args, key).extend(fields[key])
    error = failure(DownloadImage(), args)
    assert error.reason == reason, error.message
    assert left_in(store) == []
    assert not (store / "x").exists()


def test_no_more_is_fetched_than_there_is_room_for(sshd: PrivateSshd, store: Path, web: Web) -> None:
    """The length is unknown and the body without end: the limit ends it."""
    sent = 0

    def endless(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.end_headers()
        while sent < 200 * MIB:
            request.wfile.write(b"x" * MIB)
            sent += MIB

    web.answers["/endless"] = endless
    assert (
        failure(DownloadImage(), task(sshd, store, web.url("/endless"), "raw", max_bytes=8 * MIB)).reason == "NO_SPACE"
    )
    assert sent < 100 * MIB
    assert left_in(store) == []


class Held:
    """An answer that stops in the middle until it is let go."""

    def __init__(self, content: bytes) -> None:
        self.content, self.let_go = content, threading.Event()

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        half = len(self.content) // 2
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.content)))
        request.end_headers()
        request.wfile.write(self.content[:half])
        self.let_go.wait(60)
        request.wfile.write(self.content[half:])


def test_two_downloads_of_one_image_fetch_it_once(sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web) -> None:
    held = Held(images.raw(tmp_path / "a.raw", 8 * MIB).read_bytes())
    web.answers["/a"] = held
    args = task(sshd, store, web.url("/a"), "raw")

    async def both() -> list[Any]:
        half = asyncio.Event()
        work = new_work(lambda percent, _: half.set() if percent > 20 else None)
        first = asyncio.ensure_future(DownloadImage().run(args, work))
        await half.wait()
        second = asyncio.ensure_future(DownloadImage().run(args, new_work()))
        # Time for a second request, if one were to come.
        for _ in range(100):
            if len(web.requests) > 1:
                break
            await asyncio.sleep(0.02)
        held.let_go.set()
        return await asyncio.gather(first, second)

    try:
        first, second = asyncio.run(both())
    finally:
        held.let_go.set()
    assert facts(first) == facts(second)
    assert len(web.requests) == 1


def test_a_lost_connection_leaves_nothing_and_the_next_run_ends_well(
    sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web
) -> None:
    source = images.raw(tmp_path / "a.raw", 8 * MIB)
    held = Held(source.read_bytes())
    web.answers["/a"] = held
    args = task(sshd, store, web.url("/a"), "raw")
    try:
        work = new_work(lambda percent, _: sshd.drop_connections() if percent > 20 else None)
        assert failure(DownloadImage(()), args, work).reason == "UNREACHABLE"
        wait_until_nothing_is_left(store)
    finally:
        held.let_go.set()
    assert run(DownloadImage(), args).sha256 == sha256(source)


def test_giving_up_leaves_nothing(sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web) -> None:
    held = Held(images.raw(tmp_path / "a.raw", 8 * MIB).read_bytes())
    web.answers["/a"] = held
    try:
        work = new_work(lambda percent, _: work.aborted.set() if percent > 20 else None)
        assert failure(DownloadImage(), task(sshd, store, web.url("/a"), "raw"), work).reason == "ABORTED"
        assert left_in(store) == []
    finally:
        held.let_go.set()


def test_a_task_that_is_cancelled_leaves_nothing(sshd: PrivateSshd, store: Path, tmp_path: Path, web: Web) -> None:
    """As the dispatcher does when the time of a task is over."""
    held = Held(images.raw(tmp_path / "a.raw", 8 * MIB).read_bytes())
    web.answers["/a"] = held

    async def cancelled() -> None:
        half = asyncio.Event()
        work = new_work(lambda percent, _: half.set() if percent > 20 else None)
        running = asyncio.ensure_future(DownloadImage().run(task(sshd, store, web.url("/a"), "raw"), work))
        await half.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    try:
        asyncio.run(cancelled())
        wait_until_nothing_is_left(store)
    finally:
        held.let_go.set()


@pytest.mark.parametrize(
    "path", ["images/a/../../../x", "images/a", "x", "images/.a/a", "images/a/b/c", ".zcloud/x", "images/link/a.raw"]
)
def test_nothing_outside_the_storage_is_deleted(sshd: PrivateSshd, store: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for victim in (tmp_path / "x", store / "x", outside / "a.raw"):
        victim.write_text("keep")
    (store / "images").mkdir()
    (store / "images" / "link").symlink_to(outside)
    args = DeleteImageTask(target=target_of(sshd), storage_url=str(store), install_path=f"{store}/{path}")
    with pytest.raises(TaskError, match=r"is not the path of an image|leads out of the storage"):
        run(DeleteImage(), args)
    assert all(victim.read_text() == "keep" for victim in (tmp_path / "x", store / "x", outside / "a.raw"))
