"""What fronts and nodes say to each other arrives as it was said, however the bytes are cut (ARC-01)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcloud.api.front.frames import Link, ended, ending, opened, opening

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
keys = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
frames = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=60)), max_size=8)


class Heard(Link):
    """Keeps what comes, and what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[int, int, bytes]] = []
        self.sent, self.writes = b"", 0
        self.transport: Any = self

    def taken(self, number: int, kind: int, body: bytes) -> None:
        self.frames.append((number, kind, body))

    def gather(self) -> None:
        """Not before the test says so."""

    def write(self, data: bytes) -> None:
        self.sent += data
        self.writes += 1

    def is_closing(self) -> bool:
        return False


@given(frames, st.integers(1, 40))
def test_frames_arrive_whole_and_in_order_however_they_are_cut(said: list[tuple[int, int, bytes]], size: int) -> None:
    speaker, listener = Heard(), Heard()
    for frame in said:
        speaker.send(*frame)
    speaker.flush()
    assert speaker.writes == bool(said)
    for at in range(0, len(speaker.sent), size):
        listener.data_received(speaker.sent[at : at + size])
    assert listener.frames == said


@given(st.integers(0, 65535), texts, st.lists(st.tuples(keys, texts), max_size=5), st.binary(max_size=80))
def test_an_opening_has_all_that_a_call_has(
    method: int, peer: str, metadata: list[tuple[str, str]], data: bytes
) -> None:
    assert opened(opening(method, peer, [*metadata, ("x-bin", b"\x00")], data)) == (method, peer, metadata, data)


def test_metadata_that_no_header_may_have_does_not_shift_the_others() -> None:
    told = [("a", "1"), ("b\0c", "2"), ("d", "3\0e\0"), ("f", "4")]
    assert opened(opening(1, "p", told, b"x")) == (1, "p", [("a", "1"), ("f", "4")], b"x")


pairs = st.one_of(st.tuples(keys, texts), st.tuples(keys, st.binary(max_size=60)))


@given(st.integers(0, 16), texts, st.lists(pairs, max_size=4), st.binary(max_size=80))
def test_an_end_has_status_trailers_and_answer(
    code: int, details: str, trailers: list[tuple[str, str | bytes]], data: bytes
) -> None:
    assert ended(ending(code, details, tuple(trailers), data)) == (code, details, tuple(trailers), data)


def test_nothing_is_taken_of_half_a_frame() -> None:
    speaker, listener = Heard(), Heard()
    speaker.send(1, 2, b"whole")
    speaker.flush()
    listener.data_received(speaker.sent[:-1])
    assert listener.frames == []
    with pytest.raises(NotImplementedError):
        Link().taken(1, 2, b"")
