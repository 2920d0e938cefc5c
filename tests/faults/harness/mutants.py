"""Mistakes that one could make, made on purpose while a test runs: what finds none of them finds nothing."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

from agents.runtime import outcome
from agents.runtime.dispatch import Dispatcher
from agents.runtime.journal import Entry, Journal
from agents.runtime.outcome import arguments
from projections.projector import Projector
from tests.faults.harness.lake import Lake
from zcloud.api.agent_sessions import AgentSessions
from zcloud.domain.compute import machine
from zcloud.domain.network import addresses
from zcloud.kernel.job import Job, JobQueue
from zcloud.kernel.leases import NotOwner, SharedLeases, partition_of
from zcloud.kernel.runner import Runner
from zcloud.kernel.store import postgres
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step
from zcloud.processes.compute import start_steps

Patch = contextlib.AbstractContextManager[Any]


def patched(target: Any, name: str, new: Any) -> Callable[[], Patch]:
    """Something of the code replaced."""
    return lambda: mock.patch.object(target, name, new)


# -- the agent


def forgetful(self: Journal, task_uuid: str) -> Entry | None:
    """It was never seen before."""
    return None


async def _no_probe(handler: Any, args: Any, work: Any, begun: bool) -> Any:
    del begun
    return await handler.run(args, work)


def _any_fence(self: Dispatcher, task: Any, seen: int) -> Any:
    return arguments(self._handlers[task.args.TypeName()], task)


# -- the node


async def _any_report(self: Runner, task_uuid: str, report: Any, source: str) -> bool:
    """Whatever the job waits for now is what this report is about."""
    known = self.__dict__.setdefault("_known", {})
    known.update({task: job for task, (job, _) in self._pending.items()})
    if task_uuid in known:
        job = await self.cloud.load(known[task_uuid])
        await self._record(known[task_uuid], job.task_uuid, report)  # type: ignore[union-attr]
        self._wake_up(known[task_uuid])
    return True


def _undo_forwards(self: Job.StepDone, aggregate: Any) -> None:
    _step_done(self, aggregate)
    if self.undo and not self.again:
        todo = [n for n, step in enumerate(aggregate.steps) if step.state.value in ("Done", "Failed")]
        aggregate.index = todo[0] if todo else -1


_step_done = Job.StepDone.apply


def _not_its_own(self: Job.StepFailed, aggregate: Any) -> None:
    _step_failed(self, aggregate)
    aggregate.index = self.index - 1


_step_failed = Job.StepFailed.apply


def _one_too_far(self: Job.UndoBegun, aggregate: Any) -> None:
    _undo_begun(self, aggregate)
    aggregate.index -= 1


_undo_begun = Job.UndoBegun.apply


_sessions_take = AgentSessions.take
_reports = itertools.count(1)


async def _one_is_lost(self: AgentSessions, report: Any, source: str) -> bool:
    """The agent is told that it was recorded, and tells nobody any more."""
    return True if next(_reports) % 5 == 0 else await _sessions_take(self, report, source)


async def _nothing_pending(self: Runner) -> None:
    self.cloud.log.listen(self._on_committed)


_lake_append = Lake.append


def _requests_unknown(self: Any, append: Any) -> Any:
    append.request = None
    return _lake_append(self, append)


# -- workflows


async def _keeps_claim(unit: Unit, it: Any) -> None:
    return None


async def _keeps_address(*_: Any, **__: Any) -> None:
    return None


def _steps_without(name: str) -> Callable[..., tuple[Step, ...]]:
    whole = start_steps.steps

    def steps(nics: int, **keywords: Any) -> tuple[Step, ...]:
        return tuple(replace(s, undo=None) if s.name == name else s for s in whole(nics, **keywords))

    return steps


def _late_rows(self: Projector, limit: int = 2000) -> bool:
    """The position is written before the rows, which a kill between the two loses."""
    stretch = self._fold(limit)
    if not stretch.index:
        return False
    with self.engine.begin() as connection:
        self._pass(connection, stretch.position)
    begin, self.position = self.position, stretch.position
    with self.engine.begin() as connection:
        self._write(connection, stretch)
    return begin < self.position


BOUNDARY: dict[str, tuple[str, Callable[[], Patch]]] = {
    "undo in the wrong order": ("create_vm", patched(Job.StepDone, "apply", _undo_forwards)),
    "the failed step is not undone": ("create_vm", patched(Job.StepFailed, "apply", _not_its_own)),
    "a cancel spares the last step": ("create_vm", patched(Job.UndoBegun, "apply", _one_too_far)),
    "a volume is not deleted again": ("create_vm", patched(start_steps, "steps", _steps_without("create_root_volume"))),
    "a VM is not taken down again": ("create_vm", patched(start_steps, "steps", _steps_without("start"))),
    "CPU is not given back": ("create_vm", patched(machine, "release_host", _keeps_claim)),
    "addresses are not given back": ("create_vm", patched(addresses, "release", _keeps_address)),
    "jobs are forgotten at a restart": ("create_vm", patched(Runner, "start", _nothing_pending)),
    "a request id is ignored": ("create_vm", patched(Lake, "append", _requests_unknown)),
    "a job that has ended still queues": ("stop_vm", patched(JobQueue.Left, "apply", lambda self, aggregate: None)),
}
STORM: dict[str, Callable[[], Patch]] = {
    "an agent does not remember what it did": patched(Journal, "find", forgetful),
    "an agent obeys old fences": patched(Dispatcher, "_admit", _any_fence),
    "any report is taken": patched(Runner, "on_report", _any_report),
}


def _no_epoch(self: SharedLeases, key: str) -> Any:
    if self.epoch_of(partition_of(key)) is None:
        raise NotOwner(key)


OWNERS: dict[str, Callable[[], Patch]] = {
    "a lease without epoch": patched(SharedLeases, "fence", _no_epoch),
    "a log that asks for no epoch": patched(postgres, "_fences", lambda _batch: []),
}
LOSES_REPORTS = patched(AgentSessions, "take", _one_is_lost)
NO_PROBE = patched(outcome, "_effect", _no_probe)
LATE_ROWS = patched(Projector, "advance", _late_rows)


@contextlib.contextmanager
def mutated(patch: Callable[[], Patch]) -> Iterator[None]:
    """While it lasts."""
    with patch():
        yield


__all__ = [
    "BOUNDARY",
    "LATE_ROWS",
    "LOSES_REPORTS",
    "NO_PROBE",
    "OWNERS",
    "STORM",
    "Patch",
    "forgetful",
    "mutated",
    "patched",
]
