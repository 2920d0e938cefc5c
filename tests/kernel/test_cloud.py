"""Deciding: optimistic, all or nothing, in one order with one time."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.toy import OWNER, Thing, Weight, request, running
from zcloud.kernel.clock import FakeClock
from zcloud.kernel.cloud import ATTEMPTS, Cloud
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Code, Conflict, Reason, Refused
from zcloud.kernel.log import RequestTaken
from zcloud.kernel.record import Append
from zcloud.kernel.unit import Unit

UUID = "1" * 32


def test_two_units_on_one_aggregate_both_land_one_after_the_other(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            await asyncio.gather(*(kernel.fill(uuid, str(n)) for n in range(50)))
            assert sorted(await kernel.items(uuid), key=int) == [str(n) for n in range(50)]

    asyncio.run(go())


def test_a_unit_whose_aggregate_moved_decides_again(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            seen: list[tuple[str, ...]] = []

            async def slow(unit: Unit) -> None:
                thing = await unit.get(Thing, uuid)
                seen.append(thing.items)
                if len(seen) == 1:
                    await kernel.fill(uuid, "meanwhile")
                thing.fill("slow")

            await kernel.cloud.decide(Context(OWNER), slow)
            assert seen == [(), ("meanwhile",)]
            assert await kernel.items(uuid) == ("meanwhile", "slow")

    asyncio.run(go())


def test_a_child_is_not_made_in_a_parent_that_goes_meanwhile(tmp_path: Path) -> None:
    """What a unit only read must still be so when it is written."""

    async def go() -> None:
        async with running(tmp_path) as kernel:
            parent = await kernel.create("parent")

            async def make(unit: Unit) -> None:
                await unit.usable(Thing, parent)
                if "toy_thing.Removed" not in kernel.topics():
                    await kernel.remove(parent)
                (await unit.new(Thing)).create(name="orphan", inside=parent)

            with pytest.raises(Refused) as refused:
                await kernel.cloud.decide(Context(OWNER), make)
            assert refused.value.code is Code.NOT_FOUND
            assert kernel.topics() == ["toy_thing.Created", "toy_thing.Removed"]

    asyncio.run(go())


def test_after_too_many_conflicts_the_caller_is_told_to_try_again(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            tries = 0

            async def never(unit: Unit) -> None:
                nonlocal tries
                thing = await unit.get(Thing, uuid)
                tries += 1
                await kernel.fill(uuid, f"other {tries}")
                thing.fill("mine")

            with pytest.raises(Refused) as refused:
                await kernel.cloud.decide(Context(OWNER), never)
            assert (refused.value.code, refused.value.reason) == (Code.ABORTED, Reason.VERSION_MOVED)
            assert tries == ATTEMPTS
            assert "mine" not in await kernel.items(uuid)

    asyncio.run(go())


def test_a_dry_run_writes_nothing_and_tells_all(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            head = kernel.log.head
            decision = await kernel.fill(uuid, "a", dry_run=True, answer=lambda unit, _: request("r"))
            assert [(r.topic, r.position, r.resource_uuid) for r in decision.records] == [("toy_thing.Filled", 0, uuid)]
            assert kernel.recorder.head() == head
            assert kernel.recorder.find_request(OWNER.account_uuid, "r") is None
            assert await kernel.items(uuid) == ()
            await kernel.fill(uuid, "a")

    asyncio.run(go())


def test_a_refusal_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            one, other = await kernel.create("one"), await kernel.create("other")
            await kernel.fill(other, "taken")

            async def both(unit: Unit) -> None:
                (await unit.get(Thing, one)).fill("new")
                (await unit.get(Thing, other)).fill("taken")

            head = kernel.recorder.head()
            with pytest.raises(Refused):
                await kernel.cloud.decide(Context(OWNER), both)
            assert kernel.recorder.head() == head
            cached = await kernel.cloud.load(one)
            assert isinstance(cached, Thing)
            assert cached.items == ()

    asyncio.run(go())


def test_several_aggregates_change_in_one_append(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            one, other = await kernel.create("one"), await kernel.create("other")

            async def both(unit: Unit) -> None:
                thing = await unit.get(Thing, one)
                thing.fill("a")
                (await unit.companion(Weight, thing)).weigh(5)
                (await unit.get(Thing, other)).fill("b")

            decision = await kernel.cloud.decide(Context(OWNER, "both", "", "because"), both)
            assert [r.position for r in decision.records] == [3, 4, 5]
            assert {r.time for r in decision.records} == {decision.records[0].time}
            weight = decision.records[1]
            assert (weight.kind, weight.resource_uuid, weight.owner_uuid) == ("toy_thing", one, OWNER.account_uuid)
            assert weight.originator_id == Weight.stream_of(one)
            assert {(r.origin, r.reason, r.actor) for r in decision.records} == {("both", "because", OWNER)}

    asyncio.run(go())


def test_facts_do_not_make_a_version_wrong(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()

            async def weigh(unit: Unit) -> None:
                (await unit.companion_of(Weight, uuid)).weigh(7)

            await kernel.cloud.decide(Context(OWNER), weigh)
            found = await Cloud(kernel.log).load(uuid)
            assert found is not None
            assert found.version == 1
            beside = await Cloud(kernel.log).load(Weight.stream_of(uuid), Weight)
            assert isinstance(beside, Weight)
            assert (beside.uuid, beside.grams) == (uuid, 7)

    asyncio.run(go())


def test_time_grows_with_position_though_the_clock_goes_back(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            clock = kernel.cloud.clock = FakeClock()
            uuid = await kernel.create()
            clock.advance(-3600)
            await asyncio.gather(*(kernel.fill(uuid, str(n)) for n in range(10)))
        async with running(tmp_path) as kernel:  # and over a restart
            kernel.cloud.clock = clock
            await kernel.fill(uuid, "late")
            times = [r.time for r in kernel.recorder.read_all(0, 100)]
            assert times == sorted(times)
            assert len(set(times)) == len(times)
            live, again = await kernel.cloud.load(uuid), await Cloud(kernel.log).load(uuid)
            assert live is not None
            assert again is not None
            assert live.last_op_date == again.last_op_date == times[-1]

    asyncio.run(go())


def test_live_state_is_what_a_replay_gives(tmp_path: Path) -> None:
    """Also where a unit was overtaken and its events got another time."""

    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuids = [await kernel.create(str(n)) for n in range(3)]

            async def both(unit: Unit, n: int) -> None:
                await asyncio.sleep(0.001 * (n % 3))
                for uuid in uuids[n % 3 :]:
                    thing = await unit.get(Thing, uuid)
                    thing.fill(f"{n}")
                    (await unit.companion(Weight, thing)).weigh(n)

            await asyncio.gather(*(kernel.cloud.decide(Context(OWNER), lambda u, n=n: both(u, n)) for n in range(20)))
            fresh = Cloud(kernel.log)
            for uuid in uuids:
                for stream, cls in ((uuid, None), (Weight.stream_of(uuid), Weight)):
                    live, again = await kernel.cloud.load(stream, cls), await fresh.load(stream, cls)
                    assert live is not None
                    assert again is not None
                    assert state(live) == state(again)

    asyncio.run(go())


def state(aggregate: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(aggregate).items() if k not in ("pending", "now")}


def test_a_uuid_is_free_again_after_removal(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            await kernel.create("first", uuid=UUID)
            await kernel.fill(UUID, "old")
            with pytest.raises(Refused) as refused:
                await kernel.create("second", uuid=UUID)
            assert (refused.value.code, refused.value.reason) == (Code.ALREADY_EXISTS, Reason.RESOURCE_EXISTS)
            await kernel.remove(UUID)
            await kernel.create("second", uuid=UUID)
            for cloud in (kernel.cloud, Cloud(kernel.log)):
                found = await cloud.load(UUID)
                assert isinstance(found, Thing)
                assert (found.name, found.items, found.version, found.exists) == ("second", (), 4, True)

    asyncio.run(go())


def test_of_two_that_take_one_uuid_one_gets_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            found = await asyncio.gather(*(kernel.create(n, uuid=UUID) for n in "ab"), return_exceptions=True)
            assert sorted(type(f).__name__ for f in found) == ["Refused", "str"]
            assert kernel.topics() == ["toy_thing.Created"]

    asyncio.run(go())


def test_a_request_id_is_used_once(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            found = await asyncio.gather(
                *(kernel.fill(uuid, f"{n}", answer=lambda unit, _: request("r")) for n in range(5)),
                return_exceptions=True,
            )
            assert sum(isinstance(f, RequestTaken) for f in found) == 4
            assert await kernel.items(uuid) == ("0",)
            await kernel.fill(uuid, "after")

    asyncio.run(go())


def test_a_unit_that_is_given_up_leaves_the_rest_whole(tmp_path: Path) -> None:
    """A caller that goes away between submitting and the commit: what was submitted is written and is seen."""

    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            for n in range(20):
                going = asyncio.create_task(kernel.fill(uuid, f"gone {n}"))
                await asyncio.sleep(0)
                going.cancel()
                await asyncio.gather(going, kernel.fill(uuid, f"stays {n}"), return_exceptions=True)
            items = await kernel.items(uuid)
            assert [i for i in items if i.startswith("stays")] == [f"stays {n}" for n in range(20)]
            live = await kernel.cloud.load(uuid)
            assert isinstance(live, Thing)
            assert live.items == items

    asyncio.run(go())


def test_what_came_of_a_given_up_unit_is_nobodys_error(tmp_path: Path) -> None:
    """Its caller is gone and it was not written: asyncio does not tell operators of an exception that nobody took."""

    complaints: list[Any] = []

    async def go() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            await kernel.fill(uuid, "first", answer=lambda unit, _: request("r"))
            going = asyncio.create_task(kernel.fill(uuid, "again", answer=lambda unit, _: request("r")))
            await asyncio.sleep(0)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            assert await kernel.items(uuid) == ("first",)

    asyncio.run(go())
    gc.collect()
    assert complaints == []


def test_what_another_node_wrote_first_is_seen_at_once(tmp_path: Path) -> None:
    """Who is told of it looks at it there and then, while this node's own decision still waits for its refusal."""

    async def go() -> None:
        async with running(tmp_path) as kernel:
            uuid = await kernel.create()
            held: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            async def seen() -> tuple[str, ...]:
                found = await kernel.cloud.load(uuid)
                assert isinstance(found, Thing)
                return found.items

            async def other_node_fills(item: str) -> None:
                async def body(unit: Unit) -> None:
                    (await unit.get(Thing, uuid)).fill(item)

                records = (await Cloud(kernel.log).decide(Context(OWNER, "fill"), body, dry_run=True)).records
                (written,) = kernel.recorder.append_batch([Append(records, {uuid: records[0].originator_version - 1})])
                assert isinstance(written, list)
                kernel.cloud._hear(written)

            submit, kernel.log.submit = kernel.log.submit, lambda _: held  # type: ignore[method-assign]
            mine = asyncio.create_task(kernel.fill(uuid, "mine"))
            await asyncio.sleep(0)
            assert await seen() == ("mine",)
            await other_node_fills("first")
            assert await seen() == ("first",)
            await other_node_fills("second")
            assert await seen() == ("first", "second")
            kernel.log.submit = submit  # type: ignore[method-assign]
            held.set_exception(Conflict("the other node was quicker"))
            await mine
            assert await seen() == await kernel.items(uuid) == ("first", "second", "mine")

    asyncio.run(go())
