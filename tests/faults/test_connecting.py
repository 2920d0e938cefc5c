"""A job of a VM that fails while its host is being connected asks the host, and leaves no VM that nobody knows of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agents.runtime.task import TaskError, Work
from agents.simulator.faults import Pace
from tests.faults.harness.books import violations
from tests.faults.harness.cloud import Run
from tests.faults.harness.grounds import ground
from tests.faults.harness.loop import run as run_loop
from zcloud.domain.infrastructure.host import HostStatus, Status
from zcloud.kernel.job import JobState, StepState

pytestmark = pytest.mark.faults
VERBS = {"Stop": "StopVmTask", "Reboot": "RebootVmTask", "Pause": "PauseVmTask"}


class Dawdling(Pace):
    """One kind of task fails when it is told to; a host that has said what it has takes long to be prepared."""

    def __init__(self, failing: str) -> None:
        super().__init__()
        self.fails = asyncio.Event()
        self._failing = failing

    async def before(self, task: str, work: Work) -> None:
        if task == self._failing:
            await self.fails.wait()
            raise TaskError("FAILED", "the hypervisor would not")
        self.delay = 0.0 if task in ("ConnectHostTask", "ReadVmTask") else 20.0
        await super().before(task, work)


async def _until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(600):
        while not seen():  # noqa: ASYNC110 - the loop's time is virtual
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("verb", VERBS)
def test_what_fails_while_its_host_is_being_connected_is_looked_at(verb: str) -> None:
    """VM-04, HST-04: the host has said what runs there before, when the job was still at work."""
    run_loop(_live(ground("running"), verb))


async def _live(base: Run, verb: str) -> None:
    run = Run(base, seed=7)
    pace = Dawdling(VERBS[verb])
    for host in run.hosts.values():
        host.pace = pace
    await run.start()
    assert await run.quiet()
    fold = run.lake.fold
    vm = next(iter(fold.all("vm_instance")))
    where = str(fold.value(vm, "host_uuid"))
    job = (await run.call(f"{verb}VmInstance", uuid=vm.uuid)).job_uuid
    await _until(lambda: bool(run.job(job).task_uuid))
    connect = (await run.call("ReconnectHost", uuid=where)).job_uuid
    await _until(lambda: any(s.name == "connect" and s.state is StepState.DONE for s in run.job(connect).steps))
    assert fold.companion(HostStatus, where).status is Status.CONNECTING, "the run is invalid: it is connected already"
    pace.fails.set()
    assert (await run.ended(job)).state is JobState.FAILED
    assert (await run.ended(connect)).state is JobState.SUCCEEDED
    assert await run.quiet()
    run.halt()
    assert (fold.value(vm, "state"), violations(run)) == ("Running", [])
