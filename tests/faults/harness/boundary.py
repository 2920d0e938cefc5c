"""One life of a workflow with one fault in it, and the node killed at one of its commits; and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.runtime.task import TaskError
from tests.faults.harness.books import violations
from tests.faults.harness.cloud import Run
from tests.faults.harness.grounds import ground
from tests.faults.harness.loop import later
from tests.faults.harness.loop import run as run_loop
from tests.faults.harness.picture import picture
from tests.faults.harness.scenarios import Scenario
from zcloud.kernel.errors import Refused
from zcloud.kernel.job import JobState


@dataclass(frozen=True)
class Fault:
    """kind: "" (none), "fail" (nothing happened), "half" (it happened and was said to have failed), "cancel", "abort".

    step: of the workflow's own job; a cancel comes when that step is done, an abort when it was sent.
    """

    kind: str = ""
    step: int = -1


@dataclass
class Outcome:
    """What came of it. commits: how many there were between the call and rest."""

    state: str
    picture: dict[str, Any]
    commits: int
    tasks: int
    steps: int
    wrong: list[str] = field(default_factory=list)


NONE = Fault()


def live(
    scenario: Scenario,
    fault: Fault = NONE,
    kill: tuple[int, str] | None = None,
    *,
    twice: bool = False,
    dies_at: str = "",
) -> Outcome:
    """Run it. kill: the number of the commit, and whether before or after it.

    twice: whatever agents do is done a second time. dies_at: a failpoint of agents, where the first that passes dies.
    """
    base = ground(scenario.ground)
    run = Run(base, seed=7)
    run.effects.twice = twice
    if dies_at:
        run.dies_at = dies_at
    result: list[Outcome] = []
    run_loop(_live(run, base, scenario, fault, kill, result))
    return result[0]


async def _live(
    run: Run, base: Run, scenario: Scenario, fault: Fault, kill: tuple[int, str] | None, result: list[Outcome]
) -> None:
    await run.start()
    assert await run.quiet(), "the ground does not come to rest"
    run.began = len(run.lake.records)
    commits = 0

    def gate(moment: str) -> bool:
        nonlocal commits
        commits += moment == "before"
        return run.kills == 0 and kill == (commits, moment)

    main = _Main(run, scenario, fault)
    run.lake.listeners.append(main.hear)
    run.effects.plan = main.plan
    run.gate = gate
    run.arm()
    state = ""
    try:
        job = await scenario.act(run)
        state = (await run.ended(job)).state.value if job else "no job"
    except Refused as refused:
        state = refused.reason.value
    calm = await run.quiet()
    kills = run.kills
    wrong = violations(run, calm=kill is None and fault.kind in ("", "cancel", "abort"), lossy=True)
    calm = await run.settle() and calm
    run.halt()
    known = (
        frozenset(base.lake.fold.views)
        | frozenset(nic.mac for m in base.lake.fold.all("vm_instance") for nic in base.lake.fold.value(m, "vm_nics"))
        | frozenset(nic.uuid for m in base.lake.fold.all("vm_instance") for nic in base.lake.fold.value(m, "vm_nics"))
    )
    wrong += violations(run, lossy=fault.kind == "half")
    if state == JobState.STUCK.value:
        wrong.append("it is Stuck for one fault")
    if run.dies_at and not run.deaths:
        wrong.append("no agent died")
    if not calm:
        wrong.append("it does not come to rest")
    if main.tasks == 0 and scenario.workflow not in ("detach_vm_nics",):
        wrong.append("too little traffic: no task was sent")
    if kill is not None and kills != 1:
        wrong.append("the node was not killed")
    result.append(Outcome(state, picture(run, known), commits, main.tasks, main.steps, wrong))


class _Main:
    """Watches the job of the scenario's workflow, and does to it what the fault says."""

    def __init__(self, run: Run, scenario: Scenario, fault: Fault) -> None:
        self.run = run
        self.scenario = scenario
        self.fault = fault
        self.jobs: list[str] = []
        self.tasks = 0
        self.steps = 0
        self.sent: dict[str, int] = {}
        self.cancelled = False
        self.failed = ""

    def hear(self, records: list[Any]) -> None:
        """What has just become durable."""
        for record in records:
            if record.topic == "job.Created":
                event = msgspec.json.decode(record.state)
                if event["workflow"] == self.scenario.workflow:
                    self.jobs.append(record.resource_uuid)
                    self.steps = max(self.steps, len(event.get("step_names", ())))
            elif record.topic == "job.StepDispatched":
                self.tasks += 1
                event = msgspec.json.decode(record.state)
                if record.resource_uuid in self.jobs[:1] and not event.get("undo"):
                    self.sent[event["task_uuid"]] = event["index"]
                    self._maybe_cancel("abort", event)
            elif record.topic in ("job.StepDone", "job.StepSkipped") and record.resource_uuid in self.jobs[:1]:
                self._maybe_cancel("cancel", msgspec.json.decode(record.state))

    def _maybe_cancel(self, kind: str, event: dict[str, Any]) -> None:
        if self.fault == Fault(kind, event["index"]) and not self.cancelled:
            self.cancelled = True
            later(0.0, lambda: self._cancel(self.jobs[0]))

    async def _cancel(self, job: str) -> None:
        try:
            await self.run.call("CancelJob", request_id="the cancel", uuid=job)
        except Refused:
            return  # it has ended

    def plan(self, task: str, moment: str) -> None:
        """Fail the step, once; a task that is run again after a crash fails again."""
        wanted = {"fail": "before", "half": "after"}.get(self.fault.kind)
        if wanted == moment and self.sent.get(task) == self.fault.step and self.failed in ("", task):
            self.failed = task
            raise TaskError("FAILED", "as ordered")


def stuck(outcome: Outcome) -> bool:
    """It rests for an operator."""
    return outcome.state == JobState.STUCK.value
