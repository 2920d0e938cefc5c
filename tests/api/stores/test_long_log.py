"""A node on a long log begins at its head: the log is not read again before the first command (ARC-03)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import running_node
from zcloud.domain.infrastructure.zone import Zone
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.store.reading import SqlStore
from zcloud.kernel.unit import Unit

ZONES, CHANGES = 40, 60


def test_the_first_command_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    plain = SqlStore._records

    def counted(self: SqlStore, statement: str, values: Any) -> Any:
        found = plain(self, statement, values)
        read.append(len(found))
        return found

    async def write() -> int:
        async with running_node(tmp_path) as api:

            async def change(unit: Unit) -> None:
                for n in range(ZONES):
                    zone = await unit.new(Zone, account_uuid="")
                    zone.create(name=f"z{n}")
                    for m in range(CHANGES):
                        zone.update(description=f"{m}")

            await api.node.cloud.decide(Context(actor=SYSTEM), change)
            await api.call("QueryZone")
            return int(api.node.cloud.log.head)

    async def again() -> None:
        async with running_node(tmp_path) as api:
            await api.call("CreateZone", name="first")

    head = asyncio.run(write())
    assert head > ZONES * CHANGES
    monkeypatch.setattr(SqlStore, "_records", counted)
    asyncio.run(again())
    assert sum(read) < head / 4, f"{sum(read)} records of {head} were read"
