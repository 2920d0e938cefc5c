"""The image cache: whole and checked or not at all, fetched once, resumed after a loss."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from agents.runtime.task import Handler
from agents.storage import image_cache
from agents.storage.handlers import host_handlers
from tests.support.sshd import running_sshd, target_of
from tests.support.tasks import failure, new_work, probe, run
from zcloud.v1.image_task_pb2 import CacheImageTask, DeleteCachedImageTask

pytestmark = pytest.mark.real
MIB = 1 << 20
SIZE = 24 * MIB


def handler(task: type[Any]) -> Handler[Any, Any]:
    return next(handler for handler in host_handlers() if handler.task is task)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "ps" / "imagecache" / "image.qcow2"


def task(sshd: PrivateSshd, source: Path, cache: Path, **changes: Any) -> CacheImageTask:
    fields = {
        "source_path": str(source),
        "cache_path": str(cache),
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "actual_size": source.stat().st_size,
    }
    return CacheImageTask(source=target_of(sshd), **(fields | changes))


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.parent.iterdir()) if cache.parent.exists() else []


def test_no_faster_than_the_rate_that_is_set(
    sshd: PrivateSshd, source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block is waited for as long as it came too early; without a limit nothing is waited for."""
    waits: list[float] = []
    now = itertools.repeat(1000.0)

    async def wait(_work: Any, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(image_cache, "_wait", wait)
    monkeypatch.setattr(image_cache, "time", SimpleNamespace(monotonic=lambda: next(now)))
    run(handler(CacheImageTask), task(sshd, source, cache))
    assert set(waits) == {0.0}
    cache.unlink()
    cache.with_name("image.qcow2.part").write_bytes(source.read_bytes()[: 8 * MIB])
    waits.clear()
    run(handler(CacheImageTask), task(sshd, source, cache, rate_limit=MIB))
    assert waits == sorted(waits)
    assert waits[-1] == 16.0


def test_an_image_is_cached_once_and_removed(sshd: PrivateSshd, source: Path, cache: Path) -> None:
    args, fetch, seen = task(sshd, source, cache), handler(CacheImageTask), []
    assert probe(fetch, args) is None
    assert run(fetch, args, new_work(lambda percent, _: seen.append(percent))).actual_size == SIZE
    assert cache.read_bytes() == source.read_bytes()
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len(seen) > 2
    assert files(cache) == ["image.qcow2", "image.qcow2.sha256"]

    source.unlink()  # a second transfer would fail
    assert probe(fetch, args).actual_size == SIZE
    assert run(fetch, args).actual_size == SIZE

    drop, gone = handler(DeleteCachedImageTask), DeleteCachedImageTask(cache_path=str(cache))
    cache.with_name("image.qcow2.part").write_bytes(b"half")
    cache.with_name("other.qcow2").write_bytes(b"other")
    assert probe(drop, gone) is None
    for _ in range(2):
        run(drop, gone)
        assert files(cache) == ["other.qcow2"]
    assert probe(drop, gone) is not None


@pytest.mark.parametrize("spoil", ["size", "no note", "other note"])
def test_a_cached_image_that_is_not_intact_is_fetched_again(
    sshd: PrivateSshd, source: Path, cache: Path, spoil: str
) -> None:
    args, fetch = task(sshd, source, cache), handler(CacheImageTask)
    run(fetch, args)
    note = cache.with_name("image.qcow2.sha256")
    if spoil == "size":
        os.truncate(cache, SIZE - 1)
    elif spoil == "no note":
        note.unlink()
    else:
        note.write_text("0" * 64)
    assert probe(fetch, args) is None
    run(fetch, args)
    assert cache.read_bytes() == source.read_bytes()


def test_a_lost_connection_keeps_what_came_and_the_next_run_goes_on(tmp_path: Path, source: Path, cache: Path) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        args, fetch = task(server, source, cache), handler(CacheImageTask)
        work = new_work(lambda percent, _: server.drop_connections() if percent > 20 else None)
        assert failure(fetch, args, work).reason == "UNREACHABLE"
        kept = cache.with_name("image.qcow2.part").stat().st_size
        assert 0 < kept < SIZE
        assert files(cache) == ["image.qcow2.part"]
        # The beginning has gone from the source: only a transfer that goes on can still be right.
        with open(source, "r+b") as file:
            file.write(b"\0" * kept)
        run(fetch, args)
        assert hashlib.sha256(cache.read_bytes()).hexdigest() == args.sha256
        assert files(cache) == ["image.qcow2", "image.qcow2.sha256"]


@pytest.mark.parametrize("left", [b"of another image" * 100, b"x" * (SIZE + 1), b"y" * SIZE])
def test_a_beginning_of_another_file_is_thrown_away(sshd: PrivateSshd, source: Path, cache: Path, left: bytes) -> None:
    cache.parent.mkdir(parents=True)
    cache.with_name("image.qcow2.part").write_bytes(left)
    run(handler(CacheImageTask), task(sshd, source, cache))
    assert cache.read_bytes() == source.read_bytes()


def test_two_tasks_for_one_image_transfer_it_once(sshd: PrivateSshd, source: Path, cache: Path) -> None:
    args, fetch, moved = task(sshd, source, cache), handler(CacheImageTask), []

    async def both() -> None:
        works = [new_work(lambda percent, _, n=n: moved.append(n)) for n in range(2)]
        await asyncio.gather(*(fetch.run(args, work) for work in works))

    asyncio.run(both())
    assert len(set(moved)) == 1
    assert cache.read_bytes() == source.read_bytes()


def test_giving_up_leaves_nothing(sshd: PrivateSshd, source: Path, cache: Path) -> None:
    work = new_work(lambda percent, _: work.aborted.set())
    assert failure(handler(CacheImageTask), task(sshd, source, cache), work).reason == "ABORTED"
    assert files(cache) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "INVALID"),
        ({"sha256": ""}, "INVALID"),
        ({"actual_size": SIZE - 1}, "INVALID"),
        ({"actual_size": SIZE + 1}, "INVALID"),
        ({"source_path": "/nowhere/image"}, "NOT_FOUND"),
        ({"source_path": "relative"}, "INVALID"),
        ({"cache_path": "relative"}, "INVALID"),
        ({"cache_path": "/a/../b"}, "INVALID"),
        ({"cache_path": "/etc/zcloud/image"}, "INVALID"),
    ],
)
def test_a_failed_transfer_leaves_nothing(
    sshd: PrivateSshd, source: Path, cache: Path, changes: dict[str, Any], reason: str
) -> None:
    assert failure(handler(CacheImageTask), task(sshd, source, cache, **changes)).reason == reason
    assert files(cache) == []


def test_a_full_file_system(sshd: PrivateSshd, source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(f_bavail=5, f_frsize=4096)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache.os, "statvfs", lambda _path: full)
        assert failure(handler(CacheImageTask), task(sshd, source, cache)).reason == "NO_SPACE"
    assert files(cache) == []

    def fill(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache._Part, "append", fill)
    assert failure(handler(CacheImageTask), task(sshd, source, cache)).reason == "NO_SPACE"
    assert files(cache) == []


def test_a_link_in_the_place_of_the_image_is_left_alone(sshd: PrivateSshd, source: Path, cache: Path) -> None:
    victim = source.with_name("victim")
    victim.write_text("keep")
    cache.parent.mkdir(parents=True)
    cache.symlink_to(victim)
    assert failure(handler(CacheImageTask), task(sshd, source, cache)).reason == "INVALID"
    assert files(cache) == ["image.qcow2"]
    cache.unlink()
    cache.with_name("image.qcow2.part").symlink_to(victim)
    assert failure(handler(CacheImageTask), task(sshd, source, cache)).reason == "INVALID"
    assert victim.read_text() == "keep"


def test_on_a_share_it_is_copied_and_nothing_is_sent(source: Path, cache: Path, tmp_path: Path) -> None:
    """PS-17: no server is asked; the copy is a file of its own, whatever becomes of the other."""
    nobody = {"source_path": "/nowhere/image", "cache_path": str(cache), "shared_path": str(source)}
    want = {"sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "actual_size": SIZE}
    result = run(handler(CacheImageTask), CacheImageTask(**nobody, **want))
    assert (result.actual_size, result.on_share) == (SIZE, True)
    content = source.read_bytes()
    source.write_bytes(b"changed")
    assert cache.read_bytes() == content
    assert files(cache) == ["image.qcow2", "image.qcow2.sha256"]
    assert probe(handler(CacheImageTask), CacheImageTask(**nobody, **want)) is not None


@pytest.mark.parametrize("errors", [[], [errno.EXDEV], [0, errno.EOPNOTSUPP]], ids=["can", "cannot", "no longer"])
def test_a_file_system_that_cannot_copy_by_itself(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, errors: list[int]
) -> None:
    """PS-17: another file system, or one without reflinks, is read and written, from where the other way ended."""
    real, left = os.copy_file_range, list(errors)

    def copy(*args: int) -> int:
        number = left.pop(0) if len(left) > 1 else left[0] if left else 0
        if number:
            raise OSError(number, os.strerror(number))
        return real(*args)

    monkeypatch.setattr(os, "copy_file_range", copy)
    want = {"sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "actual_size": SIZE}
    asked = CacheImageTask(cache_path=str(cache), source_path="/nowhere/image", shared_path=str(source), **want)
    assert run(handler(CacheImageTask), asked).on_share
    assert cache.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("share", ["absent", "other", "shorter", "link", "directory", "../escape", "broken"])
def test_a_share_that_is_none_is_passed_over(
    sshd: PrivateSshd, source: Path, cache: Path, tmp_path: Path, share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PS-17: what somebody said of it is not believed; the image is sent, whole and checked."""
    path = tmp_path / "share" / share
    (tmp_path / "share").mkdir()
    content = source.read_bytes()
    if share in ("other", "shorter"):
        path.write_bytes(b"x" * SIZE if share == "other" else content[:-1])
    elif share == "link":
        path.symlink_to(source)
    elif share == "directory":
        path.mkdir()
    elif share == "broken":
        path.write_bytes(content)
        monkeypatch.setattr(image_cache.ShareCopy, "step", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "lost")))
    result = run(handler(CacheImageTask), task(sshd, source, cache, shared_path=f"{tmp_path}/share/{share}"))
    assert not result.on_share
    assert cache.read_bytes() == content
    assert files(cache) == ["image.qcow2", "image.qcow2.sha256"]
