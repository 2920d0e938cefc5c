"""Request ids are forgotten when their time is over, and not before (DESIGN.md section 7.6)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.cloud import ApiError, running_node
from zcloud.kernel.clock import SECOND
from zcloud.processes.operations.request_expunge import RequestExpunge

DAYS = 86_400 * SECOND


def test_a_request_is_remembered_for_its_period(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path) as api:
            once = {"zcloud-request": "r1"}
            zone = (await api.call("CreateZone", once, name="one")).inventory
            watch = next(w for w in api.node.watches if isinstance(w, RequestExpunge))
            clock = api.node.cloud.clock

            async def look_after(days: int) -> None:
                """Later only for as long as the watch looks, or the session would be over as well."""
                now = clock.now
                clock.now = lambda: now() + days * DAYS  # type: ignore[method-assign]
                await watch.look()
                clock.now = now  # type: ignore[method-assign]

            await look_after(29)
            assert (await api.call("CreateZone", once, name="one")).inventory == zone
            with pytest.raises(ApiError) as reused:
                await api.call("CreateZone", once, name="two")
            assert reused.value.reason == "REQUEST_REUSED"
            head = api.node.cloud.log.head
            await look_after(31)
            assert api.node.cloud.log.head == head
            assert (await api.call("CreateZone", once, name="two")).inventory.uuid != zone.uuid

    asyncio.run(main())
