"""New identifiers: uuids of version 7, each greater than the one before, whatever the clock does."""

from __future__ import annotations

import time
import uuid

import pytest

from zcloud.kernel import ids
from zcloud.kernel.ids import TimedIds


def test_they_are_in_the_order_of_time_and_tell_it() -> None:
    source = TimedIds()
    before = time.time_ns() // 1_000_000
    made = [source.new() for _ in range(20_000)]
    after = time.time_ns() // 1_000_000
    assert made == sorted(set(made))
    assert before <= int(made[0][:12], 16) <= int(made[-1][:12], 16) <= after + 1
    read = [uuid.UUID(one) for one in made]
    assert {(one.version, one.variant) for one in read} == {(7, uuid.RFC_4122)}
    # What is left is chance: nobody guesses a neighbour.
    assert len({one[17:] for one in made}) == len(made)


def test_a_clock_that_stands_or_goes_back_gives_no_id_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    source = TimedIds()
    made = [source.new()]
    for nanoseconds in (*[2_000_000_000_000_000_000] * 10_000, *[1_000_000_000_000_000_000] * 10_000):
        monkeypatch.setattr(ids.time, "time_ns", lambda now=nanoseconds: now)
        made.append(source.new())
    assert made == sorted(set(made))
    assert {uuid.UUID(one).version for one in made} == {7}
