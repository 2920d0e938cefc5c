"""An agent that could not be removed with its host is removed when the machine is added again (HST-04)."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from agents.runtime.task import TaskError
from tests.faults.harness.books import violations
from tests.faults.harness.cloud import Run
from tests.faults.harness.grounds import HOST, ground
from tests.faults.harness.loop import run as run_loop
from zcloud.domain.infrastructure.host_debt import HostDebt

pytestmark = pytest.mark.faults


def debts(run: Run) -> list[Any]:
    return [debt for debt in run.lake.fold.all("host_debt") if isinstance(debt, HostDebt)]


def test_an_agent_that_was_left_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    base = ground("hosts")

    async def live() -> None:
        run = Run(base)
        await run.start()
        await run.quiet()
        old = run.names["host1"]
        address = run.lake.fold.find(old).management_ip  # type: ignore[union-attr]
        run.hosts[old].stop()
        run.pace.faults.order("RemoveKvmAgentTask", TaskError("UNREACHABLE", "no route to host"), 1)
        await run.done("DeleteHost", uuid=old, delete_mode="enforcing")
        assert old in run.servers.installed
        assert [(i.owed_kind, i.owed_uuid, i.reason) for d in debts(run) for i in d.items] == [
            ("agent", old, "passed over (UNREACHABLE): no route to host")
        ]
        fields = {"name": "again", "management_ip": address, "cluster_uuid": run.names["cluster"], **HOST}
        new = (await run.done("AddKvmHost", **fields)).inventory.uuid
        assert await run.quiet()
        assert debts(run) == []
        assert new in run.servers.installed
        assert old not in run.servers.installed
        run.halt()
        assert violations(run) == []

    run_loop(live())
