"""Then, groups, histories and watching on each store."""

from __future__ import annotations

import asyncio

from tests.api.stores.conftest import Cloud


def test_what_was_and_what_is_can_be_asked_on_each_store(cloud: Cloud) -> None:
    async def go() -> None:
        async with cloud() as api:
            zone = (await api.call("CreateZone", name="a")).inventory
            then = api.position
            await api.call("ChangeZoneState", uuid=zone.uuid, state_event="disable")
            await api.call("CreateZone", name="b")
            assert (await api.call("GetZone", uuid=zone.uuid, at_position=then)).inventory == zone
            assert list((await api.call("QueryZone", at_time=zone.create_date)).inventories) == [zone]
            for size in (1, 2):
                await api.call("CreateInstanceOffering", name=f"o{size}", cpu_num=size, memory_size=size << 30)
            (group,) = (await api.call("QueryInstanceOffering", group_by="state", sums="cpu_num,memory_size")).groups
            assert (group.count, [s.value for s in group.sums]) == (2, [3, 3 << 30])
            events = (await api.call("GetHistory", resource_uuid=zone.uuid)).events
            assert [c.field for c in events[-1].changes] == ["state"]
            stream = api.stream("WatchResources", kind="zone", filter="state = Enabled", from_position=then)
            changed = {(answer := await anext(stream)).change: answer.uuid for _ in range(2)}
            await stream.aclose()
            assert changed[2] == zone.uuid
            assert len((await api.call("QueryOperationLog", filter="name = CreateZone")).inventories) == 2

    asyncio.run(go())
