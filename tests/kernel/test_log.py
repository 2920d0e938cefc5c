"""The log's writer: group commit, conflicts, failures, and who rests on whom."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.toy import Kernel, Thing, request, running
from zcloud.kernel import failpoint
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Code, Conflict, Reason, Refused
from zcloud.kernel.event import encode
from zcloud.kernel.log import RequestTaken
from zcloud.kernel.record import Append, Record
from zcloud.kernel.unit import Unit

UUID, OTHER, THIRD = "1" * 32, "2" * 32, "3" * 32


def append(stream: str, base: int, guards: dict[str, int] | None = None, **options: Any) -> Append:
    """One more event of a stream, decided on a version."""
    event = Thing.Created(name="x") if base == 0 else Thing.Filled(item=str(base))
    record = Record(stream, base + 1, event.topic, encode(event), kind="toy_thing", resource_uuid=stream, time=1)
    return Append([record], {stream: base}, guards or {}, **options)


class Gate:
    """Holds the writer before its commits; each open() lets one go."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self._go = threading.Semaphore(0)
        failpoint.arm("commit.before", self._pass)

    def _pass(self) -> None:
        self.arrived.release()
        assert self._go.acquire(timeout=60)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.arrived.acquire, timeout=60)

    def open(self, times: int = 1) -> None:
        self._go.release(times)


async def outcomes(*futures: asyncio.Future[list[Record]]) -> list[Any]:
    """Positions of what was written, or the class of the failure."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    return [type(r) if isinstance(r, BaseException) else [x.position for x in r] for r in results]


def in_one_batch(directory: Path, *appends: Append) -> tuple[list[Any], list[tuple[str, int]]]:
    """What becomes of decisions that are committed together, and what the log then holds."""

    async def go() -> Any:
        async with running(directory) as kernel:
            gate = Gate()
            first = kernel.log.submit(append(THIRD, 0))
            await gate.reached()
            futures = [kernel.log.submit(a) for a in appends]
            gate.open(100)
            found = await outcomes(first, *futures)
            return found[1:], [(r.originator_id, r.originator_version) for r in kernel.recorder.read_all(0, 100)]

    return asyncio.run(go())


def test_positions_have_no_gaps_where_one_fails(tmp_path: Path) -> None:
    found, held = in_one_batch(tmp_path, append(UUID, 0), append(OTHER, 5), append(UUID, 1))
    assert found == [[2], Conflict, [3]]
    assert held == [(THIRD, 1), (UUID, 1), (UUID, 2)]


def test_what_rests_on_a_failed_one_fails_and_nothing_else(tmp_path: Path) -> None:
    found, held = in_one_batch(
        tmp_path,
        append(UUID, 4),  # wrong
        append(UUID, 5),  # rests on it
        append(OTHER, 0, guards={UUID: 5}),  # rests on it by what it read
        append(OTHER, 0),
        append(UUID, 0),  # decided on what is really there
    )
    assert found == [Conflict, Conflict, Conflict, [2], [3]]
    assert held == [(THIRD, 1), (OTHER, 1), (UUID, 1)]


def test_two_that_decided_on_the_same_version(tmp_path: Path) -> None:
    found, held = in_one_batch(tmp_path, append(UUID, 0), append(UUID, 0))
    assert found == [[2], Conflict]
    assert held == [(THIRD, 1), (UUID, 1)]


def test_a_stale_guard_fails_alone(tmp_path: Path) -> None:
    found, _ = in_one_batch(tmp_path, append(UUID, 0), append(OTHER, 0, guards={UUID: 0}), append(UUID, 1))
    assert found == [[2], Conflict, [3]]


def test_a_taken_request_writes_nothing(tmp_path: Path) -> None:
    found, held = in_one_batch(
        tmp_path, append(UUID, 0, request=request("r")), append(OTHER, 0, request=request("r")), append(OTHER, 1)
    )
    assert found == [[2], RequestTaken, Conflict]
    assert held == [(THIRD, 1), (UUID, 1)]


def test_another_writers_change_is_not_taken_for_the_one_that_failed(tmp_path: Path) -> None:
    """The version fits by accident: it is another's event that has this number."""
    other = Kernel(tmp_path / "log.db")
    other.recorder.append_batch([append(UUID, 0), append(UUID, 1)])
    found, held = in_one_batch(tmp_path, append(UUID, 1), append(UUID, 2))
    other.recorder.close()
    assert found == [Conflict, Conflict]
    assert held == [(UUID, 1), (UUID, 2), (THIRD, 1)]


def test_a_stream_that_failed_once_is_not_lost(tmp_path: Path) -> None:
    """Two processes on one log: what the one wrote is seen by the other after a conflict, and then it goes on."""

    async def go() -> None:
        async with running(tmp_path) as one, running(tmp_path) as other:
            uuid = await one.create()
            await other.fill(uuid, "other 1")
            await other.fill(uuid, "other 2")
            for n in range(3):
                await one.fill(uuid, f"one {n}")
            assert await one.items(uuid) == ("other 1", "other 2", "one 0", "one 1", "one 2")

    asyncio.run(go())


def test_a_reader_that_fails_forgets_nothing_that_is_under_way(tmp_path: Path) -> None:
    """A unit that only read a thing fails while another's change of it is not durable yet: all later ones go on."""

    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            await kernel.fill(uuid, "first", answer=lambda unit, _: request("taken"))
            gate = Gate()

            async def read(unit: Unit) -> None:
                await unit.get(Thing, uuid)
                (await unit.new(Thing)).create(name="never")

            reading = asyncio.create_task(kernel.cloud.decide(Context(), read, answer=lambda unit, _: request("taken")))
            await gate.reached()
            writing = asyncio.create_task(kernel.fill(uuid, "second"))
            await asyncio.sleep(0)
            gate.open()
            await gate.reached()
            with pytest.raises(RequestTaken):
                await reading
            third = asyncio.create_task(kernel.fill(uuid, "third"))
            await asyncio.sleep(0)
            gate.open(50)
            await asyncio.gather(writing, third)
            await kernel.fill(uuid, "fourth")
            assert await kernel.items(uuid) == ("first", "second", "third", "fourth")

    asyncio.run(go())


def fail_with(error: BaseException) -> Any:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("a mistake of ours")])
def test_a_store_that_fails_says_unavailable_and_nothing_is_kept(tmp_path: Path, error: Exception) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            failpoint.arm("commit.before", fail_with(error))
            with pytest.raises(Refused) as refused:
                await kernel.fill(uuid, "lost")
            assert (refused.value.code, refused.value.reason) == (Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE)
            failpoint.disarm()
            cached = await kernel.cloud.load(uuid)
            assert isinstance(cached, Thing)
            assert cached.items == ()
            await kernel.fill(uuid, "kept")
            assert await kernel.items(uuid) == ("kept",)

    asyncio.run(go())


def test_what_rests_on_a_change_that_the_store_lost_is_decided_again(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            gate = Gate()
            lost = asyncio.create_task(kernel.fill(uuid, "lost"))
            await gate.reached()
            resting = asyncio.create_task(kernel.fill(uuid, "resting"))
            await asyncio.sleep(0)
            failpoint.arm("commit.before", lambda: None)
            failpoint.arm("commit.after", lambda: None)
            original = kernel.recorder.append_batch

            def once(appends: Any) -> Any:
                kernel.recorder.append_batch = original  # type: ignore[method-assign]
                raise OSError("no")

            kernel.recorder.append_batch = once  # type: ignore[method-assign]
            gate.open()
            with pytest.raises(Refused):
                await lost
            await resting
            assert await kernel.items(uuid) == ("resting",)

    asyncio.run(go())


def test_a_commit_whose_answer_was_lost_had_happened(tmp_path: Path) -> None:
    """The retry finds its request, and those who follow the log miss nothing."""

    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            heard: list[str] = []
            kernel.log.listen(lambda records: heard.extend(r.topic for r in records))
            failpoint.arm("commit.after", fail_with(OSError("the disk went away")))
            with pytest.raises(Refused):
                await kernel.fill(uuid, "once", answer=lambda unit, _: request("r"))
            failpoint.disarm()
            assert kernel.recorder.find_request("a" * 32, "r") is not None
            with pytest.raises(Refused, match="in it already"):
                await kernel.fill(uuid, "once")
            await kernel.fill(uuid, "twice")
            assert await kernel.items(uuid) == ("once", "twice")
            assert heard == ["toy_thing.Filled", "toy_thing.Filled"]
            assert kernel.log.head == 3

    asyncio.run(go())


def test_a_log_that_is_closed_takes_nothing_more(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            kernel.log.close()
            with pytest.raises(Refused) as refused:
                await kernel.fill(uuid, "late")
            assert refused.value.code is Code.UNAVAILABLE
            cached = await kernel.cloud.load(uuid)
            assert isinstance(cached, Thing)
            assert cached.items == ()

    asyncio.run(go())


def test_events_are_never_changed_or_removed(tmp_path: Path) -> None:
    import sqlite3

    async def go() -> None:
        async with running(tmp_path) as kernel:
            await kernel.create()
            with sqlite3.connect(tmp_path / "log.db") as connection:
                for statement in ("UPDATE events SET reason='x'", "DELETE FROM events"):
                    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                        connection.execute(statement)

    asyncio.run(go())
