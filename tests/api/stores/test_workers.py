"""Several nodes of one machine behind one address: callers do not see which answers, and a dead one comes back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.cloud import CHANNEL, Client, ServerProcess
from tests.support.postgres import PostgresCluster
from zcloud.cli import serve

SECONDS = 60.0


def test_two_workers_are_one_server(tmp_path: Path, postgres: PostgresCluster) -> None:
    """ARC-14: what one has answered the other knows; one that is killed is started again, and is missed by nobody."""
    arguments = ["--store", postgres.database(), "--workers", "2", "--lease", "2"]
    server = ServerProcess(tmp_path / "data", arguments=arguments)
    server.start()
    try:
        admin = server.admin
        nodes = {node.name: node.process for node in admin.call("QueryManagementNode").inventories}
        assert len(nodes) == 2
        zones = [_other(server, admin, n).call("CreateZone", name=f"z{n}").inventory.uuid for n in range(12)]
        for n, uuid in enumerate(zones):
            assert _other(server, admin, n).call("GetZone", uuid=uuid).inventory.name == f"z{n}"
        told = {"filter": "name = CreateZone", "order_by": "create_date"}
        end = time.monotonic() + SECONDS
        while len(calls := _other(server, admin, 0).call("QueryOperationLog", **told).inventories) < 12:
            assert time.monotonic() < end
            time.sleep(0.05)  # what the other took is written within a moment
        assert [call.resource_uuid for call in calls] == zones
        assert {call.management_node_name for call in calls} <= set(nodes)
        os.kill(max(nodes.values()), signal.SIGKILL)
        end = time.monotonic() + SECONDS
        while max(nodes.values()) in (now := _alive(server, admin)) or len(now) < 2:
            assert time.monotonic() < end, now
            time.sleep(0.2)
        assert _other(server, admin, 0).call("QueryZone", count=True).total == 12
    finally:
        assert server.stop() == 0
    for forgot in (server.directory, server.directory / "worker-1"):
        alone = ServerProcess(forgot)
        with pytest.raises(RuntimeError, match="ended with 1"):
            alone.start()
        assert "lies in PostgreSQL: say where with --store" in alone.output.read_text()
        assert not (forgot / "log.db").exists()
    (alone.directory / "store").unlink()  # it is meant
    alone.start()
    assert alone.stop() == 0


def test_one_process_writes_sqlite(tmp_path: Path) -> None:
    """There they are fronts of one node."""
    server = ServerProcess(tmp_path / "data", arguments=["--workers", "2", "--fronts", "2"])
    server.start()
    try:
        (node,) = server.admin.call("QueryManagementNode").inventories
        children = Path(f"/proc/{node.process}/task/{node.process}/children").read_text().split()
        commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
        assert sum(b"zcloud.api.front" in command for command in commands) == 2
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("lease", ["0", "-1", "nan", "soon", "1e9"])
def test_a_lease_that_is_none_is_refused(lease: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Also where it comes from the environment."""
    monkeypatch.setenv("ZCLOUD_LEASE", lease)
    with pytest.raises(SystemExit) as ended:
        serve.main([])
    assert ended.value.code == 2
    assert "--lease" in capsys.readouterr().err


def _other(server: ServerProcess, admin: Client, number: int) -> Client:
    """A connection of its own, which the kernel gives to either."""
    options = (*CHANNEL, ("grpc.use_local_subchannel_pool", 1), ("number", number))
    return Client(grpc.insecure_channel(server.address, options=options), admin.token)


def _alive(server: ServerProcess, admin: Client) -> set[int]:
    try:
        found = _other(server, admin, 0).call("QueryManagementNode").inventories
    except Exception:  # the one that was killed had this connection
        return set()
    return {node.process for node in found if node.status == node.STATUS_ALIVE}
