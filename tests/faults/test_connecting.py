"""Jobs of VMs and connects of their hosts that cross each other leave no VM whose state nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.runtime.task import TaskError, Work
from agents.simulator.faults import Pace
from tests.faults.harness.books import violations
from tests.faults.harness.cloud import Run
from tests.faults.harness.grounds import ground
from tests.faults.harness.loop import run as run_loop
from zcloud.domain.infrastructure.host import HostStatus, Status
from zcloud.kernel.job import JobState, StepState
from zcloud.kernel.record import Append, Record

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


class Slow(Pace):
    """A VM takes long to start."""

    async def before(self, task: str, work: Work) -> None:
        self.delay = 250.0 if task == "StartVmTask" else 0.0
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


def test_what_is_done_after_its_job_has_given_it_up_is_looked_at() -> None:
    """VM-04, user-ask 8: a slow start, an agent that died in it, and a network that was away when the job ended."""
    run_loop(_late(ground("stopped")))


async def _late(base: Run) -> None:
    run = Run(base, seed=7)
    for host in run.hosts.values():
        host.pace = Slow()
    run.prompt = False
    await run.start()
    assert await run.quiet()
    fold = run.lake.fold
    vm = next(iter(fold.all("vm_instance")))
    job = (await run.call("StartVmInstance", uuid=vm.uuid)).job_uuid
    await _until(lambda: fold.value(vm, "state") == "Starting" and bool(run.job(job).task_uuid))
    begun = asyncio.get_running_loop().time()
    where = str(fold.value(vm, "host_uuid"))

    async def at(seconds: float) -> None:
        await asyncio.sleep(begun + seconds - asyncio.get_running_loop().time())

    await at(200)
    run.hosts[where].crash()
    await at(290)
    run.network.node = None
    run.network.cut()
    await at(310)
    assert run.job(job).state is JobState.FAILED
    assert fold.value(vm, "state") == "Unknown"
    run.network.node = run.node
    await at(400)
    assert not run.hosts[where].world.vms, "the run is invalid: it was started too early"
    assert fold.value(vm, "state") == "Stopped"
    await at(600)
    assert run.hosts[where].world.vms
    assert await run.quiet()
    run.halt()
    assert (fold.value(vm, "state"), violations(run)) == ("Running", [])


def test_nothing_is_passed_over_for_what_is_never_written() -> None:
    """VM-04, ARC-14: a report is being written, and another node's cancel is quicker; nobody may see what it said."""
    run_loop(_overtaken(ground("stopped")))


async def _overtaken(base: Run) -> None:
    run = Run(base, seed=7)
    await run.start()
    assert await run.quiet()
    fold, node = run.lake.fold, run.node
    assert node is not None
    vm = next(iter(fold.all("vm_instance")))
    node.log.latency = lambda: 0.5
    overtaken = []

    def submitted(append: Append) -> asyncio.Future[list[Record]]:
        if any(r.topic == "vm_instance_status.Running" for r in append.records) and not overtaken:
            overtaken.append(append.records[0].job_uuid)
            asyncio.get_running_loop().call_later(0.1, cancel, overtaken[0])
        return submit(append)

    def cancel(job: str) -> None:
        """As another node writes it, and this one hears of it."""
        last = run.lake.streams[job][-1]
        version = last.originator_version + 1
        record = replace(last, originator_version=version, topic="job.CancelRequested", state=b"{}", schema=1)
        written = run.lake.append(Append([record], {job: version - 1}, {}, None))
        assert isinstance(written, list)
        node.log._publish(written)

    submit, node.log.submit = node.log.submit, submitted  # type: ignore[method-assign]
    job = (await run.call("StartVmInstance", uuid=vm.uuid)).job_uuid
    ended = await run.ended(job)
    assert overtaken == [job], "the run is invalid"
    assert ended.state is JobState.CANCELED
    assert await run.quiet()
    run.halt()
    assert (fold.value(vm, "state"), violations(run)) == ("Stopped", [])
