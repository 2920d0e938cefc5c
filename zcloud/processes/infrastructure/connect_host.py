"""Connects a host anew: by itself when its agent has dialled in, or on request with a fresh agent (HST-04)."""

from __future__ import annotations

from typing import Any

from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Workflow
from zcloud.processes.infrastructure import connect
from zcloud.processes.infrastructure.prepare import preparations


class Connecting(Workflow, name="connect_host", version=1, title="connect host"):
    """The agent is there already."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return (connect.CONNECT, *preparations())

    async def begin(self, unit: Unit, job: Job) -> None:
        await connect.begin(unit, job, anew=False)

    async def succeed(self, unit: Unit, job: Job) -> None:
        await connect.succeed(unit, job)

    async def fail(self, unit: Unit, job: Job) -> None:
        await connect.fail(unit, job)


class Reconnect(Connecting, name="reconnect_host", version=1, title="reconnect host"):
    """Installs the agent again first, which upgrades it."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return (connect.REDEPLOY, *super().steps(args))

    async def begin(self, unit: Unit, job: Job) -> None:
        await connect.begin(unit, job)
