"""A front hands a call on at once, and together with others while many are under way (ARC-01)."""

from __future__ import annotations

import asyncio

import pytest

from zcloud.api.front import frames, process


class Wire:
    """What was written, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(("under_way", "waits"), [(process.CROWD - 1, False), (process.CROWD, True)])
def test_frames_wait_for_others_only_in_a_crowd(monkeypatch: pytest.MonkeyPatch, under_way: int, waits: bool) -> None:
    monkeypatch.setattr(process, "CROWD_SECONDS", 3600.0)

    async def go() -> None:
        front, wire = process.Front(), Wire()
        front.transport = wire  # type: ignore[assignment]
        front._calls = {n: asyncio.get_running_loop().create_future() for n in range(under_way)}
        front.send(1, frames.OPEN, b"one")
        front.send(2, frames.OPEN, b"two")
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(wire.writes) == (0 if waits else 1)
        front.flush()
        front.flush()
        assert len(wire.writes) == 1
        assert [part in wire.writes[0] for part in (b"one", b"two")] == [True, True]

    asyncio.run(go())
