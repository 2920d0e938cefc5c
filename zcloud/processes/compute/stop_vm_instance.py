"""Stops a VM: capacity and DHCP entries of its host are given back, its addresses stay its own (VM-04)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.machine import machine, stopped
from zcloud.domain.compute.vm_state import ALLOWED, VmEvent, VmState
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Workflow
from zcloud.processes.compute import stop_steps
from zcloud.processes.infrastructure.host_debt import owe_stop


class StopVmInstance(Workflow, name="stop_vm_instance", version=1, title="stop VM"):
    """args: nics; type, Grace or Cold; mode=Enforcing gives up on a host that is being deleted."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return stop_steps.steps(args["nics"])

    async def begin(self, unit: Unit, job: Job) -> None:
        status = (await machine(unit, job.resource_uuid)).status
        status.must_allow("stop", ALLOWED["stop"])
        if status.state is not VmState.STOPPED:
            status.take(VmEvent.STOPPING)

    async def succeed(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        await owe_stop(unit, job, it.status)
        await stopped(unit, it, stop_steps.owed(job, it.status) or job.args.get("reason", ""))

    async def fail(self, unit: Unit, job: Job) -> None:
        await stop_steps.conclude(unit, job, "stop")
