"""QueryManagementNode on one node: it has all the work, and says how its store is (MN-02)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.cloud import ApiError, running_node


def test_the_only_node_sees_to_everything(tmp_path: Path) -> None:
    """MN-02; only the admin may ask."""

    async def run() -> None:
        async with running_node(tmp_path) as api:
            answer = await api.call("QueryManagementNode")
            (node,) = answer.inventories
            assert node.status == node.STATUS_ALIVE
            assert node.answers
            assert list(node.partitions) == list(range(64))
            assert node.address == api.node.address
            assert (answer.store.kind, answer.store.well, answer.store.error) == ("sqlite", True, "")
            assert answer.store.events == api.node.cloud.log.head > 0
            _, other = await api.account("somebody")
            with pytest.raises(ApiError) as error:
                await other.call("QueryManagementNode")
            assert error.value.code == "PERMISSION_DENIED"

    asyncio.run(run())
