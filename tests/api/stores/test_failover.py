"""A synchronous pair of PostgreSQL servers under load: the first dies, the second is promoted (ARC-14, MN-02)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.stores.test_postgres import insist
from tests.support.cloud import Api, ApiError, running_node, until
from tests.support.postgres import USER, PostgresCluster

# So many at once, each of whom makes so many calls from when the first server is dead.
CALLERS, CALLS = 10, 15


@pytest.fixture
def pair() -> Iterator[tuple[PostgresCluster, PostgresCluster]]:
    """The second has every commit that the first has confirmed."""
    first = PostgresCluster(settings="-c synchronous_standby_names=*")
    try:
        second = PostgresCluster(first)
        try:
            end = time.monotonic() + 60
            while not first.in_step():
                assert time.monotonic() < end, "the second does not follow"
                time.sleep(0.05)
            yield first, second
        finally:
            second.remove()
    finally:
        first.remove()


@pytest.mark.real
def test_nothing_that_was_answered_is_lost(pair: tuple[PostgresCluster, PostgresCluster], tmp_path: Path) -> None:
    """The address names both servers; the one that writes is used. What was ambiguous is answered as it is stored."""
    first, second = pair
    database = first.database().rpartition("/")[2]
    address = f"postgresql://{USER}@127.0.0.1:{first.port},127.0.0.1:{second.port}/{database}"

    async def run() -> None:
        async with running_node(tmp_path, address) as api:
            answers: dict[int, Any] = {}
            dead = asyncio.Event()

            async def caller(number: int) -> None:
                left = CALLS
                while left:
                    answers[number] = (await insist(api, f"key-{number}", name=f"zone {number}"))[0].inventory
                    number += CALLERS
                    left -= dead.is_set()

            began = asyncio.gather(*(caller(n) for n in range(CALLERS)))

            async def under_way() -> bool:
                return api.node.cloud.log.head > 60

            await until(under_way)
            await asyncio.to_thread(first.kill)
            dead.set()
            refused = await asyncio.gather(*(_refused_within_seconds(api, n) for n in range(3)))
            assert refused == [True] * 3
            await asyncio.to_thread(second.promote)
            await began
            found, token = {}, ""
            while not found or token:
                page = await api.call("QueryZone", page_size=1000, page_token=token)
                found |= {zone.uuid: zone for zone in page.inventories}
                token = page.next_page_token
            assert found == {z.uuid: z for z in answers.values()}
            for n in sorted(answers)[::50]:
                assert (await insist(api, f"key-{n}", name=f"zone {n}"))[0].inventory == answers[n]
            records = api.node.recorder.read_all(0, 1_000_000)
            assert [r.position for r in records] == list(range(1, len(records) + 1))
            assert len([r for r in records if r.topic == "zone.Created"]) == len(answers)
            store: Any = (await api.call("QueryManagementNode")).store
            assert (store.kind, store.well) == ("postgresql", True)

    asyncio.run(run())


async def _refused_within_seconds(api: Api, n: int) -> bool:
    """While nobody writes, a caller is told so, soon, and not kept."""
    try:
        async with asyncio.timeout(60):
            await api.call("CreateZone", name=f"lost {n}")
    except ApiError as error:
        return (error.code, error.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    return False
