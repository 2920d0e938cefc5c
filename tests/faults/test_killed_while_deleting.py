"""A server that is killed at any commit of a cascade goes on with it when it is started again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.support.cloud import ApiError, ServerProcess


@pytest.mark.faults
@pytest.mark.parametrize("place", ["commit.before", "commit.after"])
@pytest.mark.parametrize("passes", [2, 3, 5, 8])
def test_a_zone_is_gone_with_all_below_it(tmp_path: Path, place: str, passes: int) -> None:
    server = ServerProcess(tmp_path / "data")
    try:
        server.start()
        admin = server.admin
        zone = admin.call("CreateZone", name="z").inventory.uuid
        for n in range(3):
            cluster = admin.call("CreateCluster", name=f"c{n}", zone_uuid=zone, hypervisor_type="Simulator")
            admin.call(
                "AddSimulatorHost",
                name=f"h{n}",
                cluster_uuid=cluster.inventory.uuid,
                management_ip=f"h{n}.invalid",
                cpu_num=1,
                memory_size=4 << 30,
            )
        server.stop()
        server.start(ZCLOUD_FAILPOINT=f"{place}:kill:{passes}")  # the first commit is the login
        with contextlib.suppress(ApiError):
            server.admin.call("DeleteZone", {"zcloud-request": "once"}, uuid=zone)
        assert server.ended() != 0
        server.start()
        admin = server.admin
        job = admin.call("DeleteZone", {"zcloud-request": "once"}, uuid=zone).job_uuid
        ended = admin.wait(job)
        assert ended.state == ended.STATE_SUCCEEDED, ended
        for rpc in ("QueryZone", "QueryCluster", "QueryHost"):
            assert admin.call(rpc, count=True).total == 0, rpc
        unfinished = admin.call("QueryJob", filter="state != Succeeded", count=True)
        assert unfinished.total == 0, unfinished
    finally:
        server.stop()
