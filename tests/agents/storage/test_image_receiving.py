"""What comes from a source: at the rate that is allowed, from where it stopped, and never mixed with another file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.storage import image_receiving
from agents.storage.helper import GivenUp, HelperError, unwanted
from agents.storage.image_receiving import receive

MIB = 1 << 20


class Source:
    """A file that stops at given places, once each; opened: where it was asked to begin."""

    def __init__(self, content: bytes, validator: str = '"one"', stops: tuple[int, ...] = ()) -> None:
        self.content, self.validator, self.stops = content, validator, list(stops)
        self.opened: list[tuple[int, str]] = []
        self.error: BaseException = HelperError("UNREACHABLE", "it stopped")

    @contextlib.contextmanager
    def __call__(self, offset: int, validator: str) -> Iterator[Any]:
        self.opened.append((offset, validator))
        begin = offset if validator == self.validator else 0
        body, source = io.BytesIO(self.content[begin:]), self

        class Reader:
            offset, validator = begin, source.validator

            def read(self, size: int, /) -> bytes:
                at = begin + body.tell()
                if source.stops and at >= source.stops[0]:
                    source.stops.pop(0)
                    raise source.error
                return body.read(size)

        yield Reader(), len(self.content)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by sleeping only."""
    found: list[float] = []
    monkeypatch.setattr(image_receiving.time, "sleep", found.append)
    monkeypatch.setattr(image_receiving.time, "monotonic", lambda: sum(found))
    monkeypatch.setattr(image_receiving, "emit", lambda _message: None)
    unwanted.clear()
    return found


def request(**fields: Any) -> dict[str, Any]:
    return {"image_url": "http://a/b", **fields}


def test_a_limited_rate(tmp_path: Path, slept: list[float]) -> None:
    content = bytes(range(256)) * (4 * MIB // 256)
    got = receive(Source(content), str(tmp_path / "part"), request(rate_limit=MIB // 2), "it")
    assert got == (len(content), hashlib.sha256(content).hexdigest())
    assert sum(slept) == 8


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    content = bytes(range(256)) * (4 * MIB // 256)
    source = Source(content, stops=(MIB, 3 * MIB))
    assert receive(source, str(tmp_path / "part"), request(), "it")[1] == hashlib.sha256(content).hexdigest()
    assert source.opened == [(0, ""), (MIB, '"one"'), (3 * MIB, '"one"')]


def test_a_source_that_cannot_say_that_it_is_the_same_is_not_gone_on_with(tmp_path: Path) -> None:
    source = Source(b"x" * 4 * MIB, validator="", stops=(MIB,))
    with pytest.raises(HelperError, match="it stopped"):
        receive(source, str(tmp_path / "part"), request(), "it")
    assert len(source.opened) == 1


def open_files(directory: Path) -> list[str]:
    """Those of this process below a directory."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists them
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(str(directory))]


@pytest.mark.parametrize("error", [HelperError("INVALID", "no"), GivenUp(), OSError("broken")])
def test_whatever_ends_it_the_part_is_closed(tmp_path: Path, error: BaseException) -> None:
    """BS-18: what still holds a file that is removed keeps its room on the disk."""
    source = Source(b"x" * 2 * MIB, stops=(MIB,))
    source.error = error
    with pytest.raises(type(error)) as failed:
        receive(source, str(tmp_path / "part"), request(), "it")
    assert failed.tb is not None  # all that it had at hand is still there
    assert open_files(tmp_path) == []


def test_who_is_given_up_while_it_reads_again_what_there_was_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, part = bytes(range(256)) * (4 * MIB // 256), tmp_path / "part"
    part.write_bytes(content[: 2 * MIB])
    (tmp_path / "part.note").write_text(json.dumps({"source": ["http://a/b", ""], "validator": '"one"'}))

    def given_up(*_: object) -> None:
        raise GivenUp

    with monkeypatch.context() as patch:
        patch.setattr(image_receiving._Part, "_add", given_up)
        with pytest.raises(GivenUp):
            receive(Source(content), str(part), request(), "it")
    again = Source(content)
    assert receive(again, str(part), request(), "it")[1] == hashlib.sha256(content).hexdigest()
    assert again.opened == [(2 * MIB, '"one"')]


def test_one_that_has_changed_is_begun_again(tmp_path: Path) -> None:
    source = Source(b"x" * 4 * MIB, stops=(2 * MIB,))
    opening = source.__call__

    @contextlib.contextmanager
    def changing(offset: int, validator: str) -> Iterator[Any]:
        if offset:
            source.content, source.validator = b"y" * 3 * MIB, '"two"'
        with opening(offset, validator) as opened:
            yield opened

    assert receive(changing, str(tmp_path / "part"), request(), "it") == (
        3 * MIB,
        hashlib.sha256(b"y" * 3 * MIB).hexdigest(),
    )


@pytest.mark.parametrize("wanted", [True, False])
def test_what_is_kept_for_another_run(tmp_path: Path, wanted: bool) -> None:
    """Of the same source only; nothing when the node has said that it wants no more."""
    content, part = bytes(range(256)) * (4 * MIB // 256), tmp_path / "part"
    source = Source(content, stops=(2 * MIB,))
    source.error = GivenUp()
    if not wanted:
        unwanted.set()
    with pytest.raises(GivenUp):
        receive(source, str(part), request(), "it")
    assert (tmp_path / "part.note").exists() is wanted
    other = Source(content)
    receive(other, str(part), request(image_url="http://a/other" if wanted else "http://a/b"), "it")
    assert other.opened == [(0, "")]
    if wanted:
        part.write_bytes(content[:MIB])
        (tmp_path / "part.note").write_text(json.dumps({"source": ["http://a/b", ""], "validator": '"one"'}))
        again = Source(content)
        assert receive(again, str(part), request(), "it")[1] == hashlib.sha256(content).hexdigest()
        assert again.opened == [(MIB, '"one"')]
