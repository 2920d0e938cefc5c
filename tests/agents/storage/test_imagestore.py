"""The store itself: what is common lies there once, and a kill at any moment loses nothing (BS-23, BS-25)."""

from __future__ import annotations

import io
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.storage.helper import HelperError
from agents.storage.imagestore.store import CHUNK, Store

CHANCE = random.Random(1)


def noise(chunks: int, rest: int = 0) -> bytes:
    return CHANCE.randbytes(chunks * CHUNK + rest)


def made(directory: Path, hit: Callable[[str], None] = lambda _name: None) -> Store:
    directory.mkdir(exist_ok=True)
    store = Store(str(directory), hit)
    store.make()
    return store


def put(store: Store, uuid: str, content: bytes) -> int:
    return store.put(uuid, io.BytesIO(content), {"name": uuid})


def content(store: Store, uuid: str) -> bytes:
    return b"".join(store.read(uuid))


def packs(store: Store) -> set[str]:
    return set(os.listdir(store.packs))


def test_what_two_images_have_in_common_lies_there_once(tmp_path: Path) -> None:
    store = made(tmp_path)
    base = noise(40, 100)
    assert put(store, "base", base) >= 40 * CHUNK
    changed = bytearray(base)
    changed[7 * CHUNK : 8 * CHUNK] = noise(1)
    # The same blocks elsewhere in the file, nothing at all, and one that is another.
    moved = bytes(3 * CHUNK) + bytes(changed[:-100]) + bytes(1000 * CHUNK)
    assert put(store, "child", moved) <= CHUNK + 64
    assert content(store, "base") == base
    assert content(store, "child") == moved
    assert put(store, "text", b"a" * 100 * CHUNK) < 1000
    for start, end in (
        (0, 1),
        (CHUNK - 1, CHUNK + 1),
        (5, 5),
        (3 * CHUNK + 17, 9 * CHUNK),
        (len(base) - 50, len(base)),
    ):
        assert b"".join(store.read("base", start, end)) == base[start:end]
    with pytest.raises(HelperError, match="no image other"):
        content(store, "other")


def test_cleaning_removes_what_nothing_refers_to_and_nothing_else(tmp_path: Path) -> None:
    store = made(tmp_path)
    first, second = noise(10), noise(10)
    put(store, "first", first)
    put(store, "both", first[: 2 * CHUNK] + second)
    store.delete("first")
    assert content(store, "both") == first[: 2 * CHUNK] + second
    # Of the first pack a fifth is of use: that part is written anew.
    assert store.clean() == 8 * CHUNK
    assert store.taken() == 12 * CHUNK
    assert content(store, "both") == first[: 2 * CHUNK] + second
    (Path(store.packs) / "left").write_bytes(b"x" * 1000)
    store.delete("both")
    assert store.clean() == 12 * CHUNK + 1000
    assert packs(store) == set()


def test_a_damaged_chunk_is_never_given_away(tmp_path: Path) -> None:
    store = made(tmp_path)
    put(store, "i", noise(3))
    (name,) = packs(store)
    path = Path(store.packs) / name
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(HelperError, match="damaged"):
        content(store, "i")


def test_a_store_takes_over_only_what_it_lacks(tmp_path: Path) -> None:
    """BS-24."""
    here, there = made(tmp_path / "here"), made(tmp_path / "there")
    base = noise(20)
    put(here, "base", base)
    put(there, "base", base)
    child = base[: 5 * CHUNK] + noise(1) + base[6 * CHUNK :]
    put(here, "child", child)
    asked: list[bytes] = []

    def fetch(missing: list[bytes]) -> object:
        asked.extend(missing)
        return here.chunks(missing)

    told, digests = here.image("child")
    there.take_over("child", told, digests, fetch)
    assert len(asked) == 1
    assert content(there, "child") == child
    assert there.images() == here.images()
    # What does not come, or is not what it should be, is refused, and nothing of it is in the books.
    put(here, "new", noise(4))
    told, digests = here.image("new")
    with pytest.raises(HelperError, match="2 chunks did not come"):
        there.take_over("new", told, digests, lambda missing: list(here.chunks(missing))[:2])
    with pytest.raises(HelperError, match="damaged"):
        there.take_over("new", told, digests, lambda missing: [(d, b"wrong", False) for d in missing])
    assert [i["uuid"] for i in there.images()] == ["base", "child"]


BASE, CHILD, OTHER = noise(12), noise(2), noise(5)


def ground(store: Store) -> None:
    """Two images with something in common, one that is gone, and a pack of which little is of use."""
    put(store, "base", BASE)
    put(store, "child", BASE[: 6 * CHUNK] + CHILD)
    put(store, "gone", OTHER + BASE)
    put(store, "mostly", OTHER[:CHUNK])
    store.delete("gone")


def replaced(store: Store) -> None:
    put(store, "child", OTHER)


ACTS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: put(store, "new", noise(3) + OTHER),
    "replace": replaced,
    "delete": lambda store: store.delete("child"),
    "clean": lambda store: store.clean(),
    "export": lambda store: store.export("base", "base.raw"),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_kill_at_any_moment_loses_no_image_and_leaves_nothing_for_ever(tmp_path: Path, act: str) -> None:
    """Each point between two things that last, in turn, by SIGKILL; and what was broken off can be done again."""
    for point in range(100):
        directory = tmp_path / str(point)
        ground(made(directory))
        if killed_at(point, directory, act) != signal.SIGKILL:
            break
        look(directory)
        ACTS[act](made(directory))
        look(directory)
    else:
        pytest.fail("it never came to an end")
    assert point >= {"delete": 2, "export": 2}.get(act, 4)


def killed_at(point: int, directory: Path, act: str) -> int:
    """Do it in a process of its own, which kills itself; gives the signal that ended it."""
    left = [point]

    def hit(_name: str) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ACTS[act](Store(str(directory), hit))
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    return os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0


def look(directory: Path) -> None:
    """All images that are said to be there are whole, and cleaning leaves nothing but what they need."""
    store = Store(str(directory))
    for _ in range(2):
        there = {i["uuid"]: content(store, i["uuid"]) for i in store.images()}
        assert there["base"] == BASE
        assert there["mostly"] == OTHER[:CHUNK]
        assert there.get("child", OTHER) in (OTHER, BASE[: 6 * CHUNK] + CHILD)
        if "new" in there:
            assert there["new"][3 * CHUNK :] == OTHER
        store.clean()
        needed = {data[at : at + CHUNK] for data in there.values() for at in range(0, len(data), CHUNK)}
        assert store.taken() <= 2 * len(needed) * CHUNK
        with store._open() as db:
            assert packs(store) == {row[0] for row in db.execute("SELECT id FROM pack")}
