"""Whatever is read can be thrown away: a rebuild gives the same rows, a replay the same state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from agents.node.private_sshd import PrivateSshd
from projections.projector import Projector
from projections.schema.registry import ReadModels
from tests.api.populated import populated
from tests.support.sshd import sshd
from tests.support.tables import rows
from zcloud.kernel.aggregate import Companion, kinds
from zcloud.kernel.cloud import Cloud

__all__ = ["sshd"]
pytestmark = pytest.mark.real


async def rebuilt(node: Any, path: Path, batch: int) -> dict[str, list[Any]]:
    """The read models of the same log, filled anew in batches of a size."""
    engine = create_engine(f"sqlite:///{path}")
    projector = Projector(node.recorder, engine, ReadModels.of_api())
    projector.prepare()
    while projector.advance(batch):
        pass
    found = rows(engine)
    engine.dispose()
    return found


def facts(aggregate: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(aggregate).items() if name not in ("pending", "now")}


def test_a_rebuilt_cloud_is_the_live_one(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def go() -> None:
        async with populated(tmp_path, sshd) as cloud:
            owner, node = cloud.owner, cloud.admin.node
            vm = cloud.uuids["vm_instance"]
            await owner.done("StopVmInstance", uuid=vm)
            await owner.call("UpdateVmInstance", uuid=vm, description="changed")
            zone = (await cloud.admin.call("CreateZone", name="short")).inventory.uuid
            await cloud.admin.done("DeleteZone", uuid=zone)
            await cloud.admin.call("CreateZone", name="again", resource_uuid=zone)
            await owner.call("ShareResource", resource_uuids=[cloud.uuids["image"]], to_public=True)
            await node.follower.reached(node.cloud.log.head)
            live = rows(node.engine)
            assert len(live["vm_instance"]) == 1
            for batch in (1, 7, 10_000):
                assert await rebuilt(node, tmp_path / f"views-{batch}.db", batch) == live
            fresh = Cloud(node.cloud.log)
            streams = {(r.originator_id, r.topic.partition(".")[0]) for r in node.recorder.read_all(0, 100_000)}
            for stream, kind in streams:
                companion = kinds()[kind] if issubclass(kinds()[kind], Companion) else None
                one, other = await node.cloud.load(stream, companion), await fresh.load(stream, companion)
                assert facts(one) == facts(other), kind

    asyncio.run(go())
