"""Adds a host: installs its agent and waits until it has connected; a host that fails is not kept (HST-03)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure.host import Host
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Workflow
from zcloud.processes.infrastructure import connect
from zcloud.processes.infrastructure.prepare import preparations
from zcloud.processes.operations.deletion import CLEANUP


class AddHost(Workflow, name="add_host", version=1, title="add host"):
    """A host is kept when its first connect has succeeded."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return (connect.DEPLOY, connect.CONNECT, *preparations())

    async def begin(self, unit: Unit, job: Job) -> None:
        await connect.begin(unit, job)

    async def succeed(self, unit: Unit, job: Job) -> None:
        await connect.succeed(unit, job)

    async def fail(self, unit: Unit, job: Job) -> None:
        host = await unit.get(Host, job.resource_uuid)
        for cleanup in CLEANUP.get("host", ()):
            await cleanup(unit, host)
        unit.because(host, f"it could not be added: {job.error}")
        host.remove()
