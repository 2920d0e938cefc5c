"""What a decision takes back without being given up as a whole: of a part that refused, nothing stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.kernel.toy import Thing, running
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit


def test_what_came_after_the_savepoint_is_taken_back(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path) as kernel:
            first, second = await kernel.create(), await kernel.create()

            async def body(unit: Unit) -> None:
                one = await unit.get(Thing, first)
                one.update(name="kept")
                before = unit.savepoint()
                one.update(name="taken back")
                (await unit.get(Thing, second)).update(name="taken back as well")
                unit.roll_back(before)
                assert one.name == "kept"
                other = await unit.get(Thing, second)
                assert other.pending == ()
                other.update(description="decided anew")

            decision = await kernel.cloud.decide(Context(), body)
            assert [record.resource_uuid for record in decision.records] == [first, second]

            async def look(unit: Unit) -> tuple[str, str, str]:
                two = await unit.get(Thing, second)
                return (await unit.get(Thing, first)).name, two.name, two.description

            name, other_name, description = (await kernel.cloud.decide(Context(), look)).value
            assert (name, description) == ("kept", "decided anew")
            assert other_name != "taken back as well"

    asyncio.run(go())
