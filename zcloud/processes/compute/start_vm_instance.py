"""Starts a VM on a host that is chosen when its turn comes; one that fails leaves it as it was (VM-04)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.compute.machine import machine, release_host, release_volume, stopped
from zcloud.domain.compute.placement import place
from zcloud.domain.compute.vm_state import ALLOWED, VmState
from zcloud.domain.storage.volume import VolumeState
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Workflow
from zcloud.processes.compute import new_volumes, start_steps
from zcloud.processes.compute.stop_steps import conclude, taken_down, uncertain


class StartVmInstance(Workflow, name="start_vm_instance", version=1, title="start VM"):
    """args: nics, and data volumes that are yet to be made, how many."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        return start_steps.steps(args["nics"], data=args.get("data", 0), forgive=("undo",))

    async def begin(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        it.status.must_allow("start", ALLOWED["start"])
        if it.status.state is not VmState.RUNNING:
            unit.detail = await place(unit, it)

    async def fail(self, unit: Unit, job: Job) -> None:
        it = await machine(unit, job.resource_uuid)
        if it.disk.status is VolumeState.CREATING and not uncertain(job, "create_root_volume"):
            await release_volume(unit, it)
        if job.args.get("data") and not uncertain(job, new_volumes.STEP):
            await new_volumes.release_unmade(unit, it)
        if it.status.state is VmState.STARTING and not uncertain(job, "start"):
            await release_host(unit, it)
        if it.status.state in (VmState.RUNNING, VmState.PAUSED) and taken_down(job):
            await stopped(unit, it, f"its start was undone: {job.error}")
        await conclude(unit, job, "start")
