"""Creates a VM: what was claimed in the append that accepted it is made real on its host, or given back (VM-02).

A VM whose creation fails leaves nothing: its uuid may be used again at once, and the job keeps the reason.
"""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.machine import forget, machine, stopped
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Workflow
from zcloud.processes.compute import new_volumes, start_steps, stop_steps


class CreateVmInstance(Workflow, name="create_vm_instance", version=1, title="create VM"):
    """args: nics and data (volumes), how many; strategy, what it is brought to; CreateStopped is started first."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        made = start_steps.steps(args["nics"], data=args.get("data", 0))
        return (*made, *stop_steps.steps(args["nics"])) if args.get("strategy") == "CreateStopped" else made

    async def succeed(self, unit: Unit, job: Job) -> None:
        if job.args.get("strategy") == "CreateStopped":
            await stopped(unit, await machine(unit, job.resource_uuid))

    async def fail(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        unit.because(it.vm, f"it could not be created: {job.error}")
        await new_volumes.forget_all(unit, it)
        await forget(unit, await machine(unit, job.resource_uuid))
