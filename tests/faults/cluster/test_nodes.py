"""Nodes are paused in turn and one is killed, while VMs are being made: the others finish all of it (ARC-14, MN-02)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.cluster.seed import live
from tests.support.postgres import PostgresCluster


@pytest.mark.faults
@pytest.mark.timeout(0)
def test_nodes_are_paused_and_killed(postgres: PostgresCluster, tmp_path: Path, seeds: int) -> None:
    """MN-02; `make faults SEEDS=…` tries one in a thousand of those with real processes."""
    for seed in range(1, 2 + seeds // 1000):
        (tmp_path / str(seed)).mkdir()
        assert asyncio.run(live(tmp_path / str(seed), postgres.database(), seed)) == [], f"seed {seed}"
