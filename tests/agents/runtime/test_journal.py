"""The agent's journal on disk."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from agents.runtime import journal as journals
from agents.runtime.journal import KEPT_SECONDS, Journal, JournalError, args_hash
from tests.agents.runtime.workbench import Clock, start_task
from zcloud.v1.agent_pb2 import Task, TaskReport
from zcloud.v1.host_task_pb2 import DeployKvmAgentTask


def report(task: Task, **fields: object) -> TaskReport:
    return TaskReport(task_uuid=task.task_uuid, succeeded=True, **fields)


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    first, second = start_task(1, fence=3), start_task(2, fence=5, resource="vm-2")
    journal = Journal(path)
    journal.begin(first)
    journal.begin(second)
    journal.finish(second, report(second))
    # No close: a killed process closes nothing. The lock goes with the connection.
    again = _reopened(journal, path)
    assert again.find("task-1").report is None
    assert again.find("task-1").args_hash == args_hash(first)
    assert again.find("task-2").report == report(second)
    assert again.find("task-3") is None
    assert (again.max_fence("vm-1"), again.max_fence("vm-2"), again.max_fence("vm-3")) == (3, 5, 0)
    again.close()


def _reopened(journal: Journal, path: Path) -> Journal:
    journal.close()
    return Journal(path)


def test_commits_reach_the_disk_before_the_call_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()


def test_the_first_outcome_stands(tmp_path: Path) -> None:
    journal, task = Journal(), start_task()
    journal.finish(task, report(task))
    journal.finish(task, TaskReport(task_uuid="task-1", error="late"))
    journal.begin(task)
    assert journal.find("task-1").report == report(task)


def test_unacknowledged_reports_are_kept_for_ever_and_acknowledged_ones_seven_days() -> None:
    clock = Clock()
    journal = Journal(clock=clock)
    for number in (1, 2, 3):
        journal.finish(start_task(number), report(start_task(number)))
        clock.now += 1
    assert [r.task_uuid for r in journal.unacknowledged()] == ["task-1", "task-2", "task-3"]
    journal.acknowledge("task-2")
    journal.acknowledge("task-2")
    assert [r.task_uuid for r in journal.unacknowledged()] == ["task-1", "task-3"]
    clock.now += KEPT_SECONDS - 10
    assert journal.prune() == 0
    assert journal.find("task-2") is not None
    clock.now += 3700
    journal.acknowledge("task-3")
    assert journal.find("task-2") is None, "an acknowledgement prunes"
    assert journal.find("task-1") is not None
    assert journal.find("task-3") is not None
    assert journal.max_fence("vm-1") == 1, "fences outlive the tasks"


def test_a_begun_task_cannot_be_acknowledged_away() -> None:
    journal = Journal()
    journal.begin(start_task())
    journal.acknowledge("task-1")
    journal.finish(start_task(), report(start_task()))
    assert len(journal.unacknowledged()) == 1


@pytest.mark.parametrize("fences", [[1, 2], [2, 1], [2**63, 2**63 - 1], [255, 256], [2**64 - 1, 7]])
def test_the_greatest_fence_is_kept_over_the_whole_range(fences: list[int]) -> None:
    journal = Journal()
    for number, fence in enumerate(fences):
        journal.begin(start_task(number, fence=fence))
    assert journal.max_fence("vm-1") == max(fences)


def test_arguments_are_never_on_disk_and_the_file_is_the_agents_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    task = Task(task_uuid="t", resource_uuid="r", fence=1)
    task.args.Pack(DeployKvmAgentTask(token="canary-token", target={"password": "canary-password"}))
    journal = Journal(path)
    journal.begin(task)
    journal.finish(task, report(task))
    files = list(tmp_path.iterdir())
    assert path in files
    for file in files:
        assert b"canary" not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    journal.close()


def test_a_second_agent_on_the_same_journal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "PATIENCE_SECONDS", 0.05)
    journal = Journal(tmp_path / "journal.db")
    with pytest.raises(JournalError, match="another agent or node that has it runs"):
        Journal(tmp_path / "journal.db")
    journal.begin(start_task())
    journal.close()
    Journal(tmp_path / "journal.db").close()


def test_a_damaged_or_newer_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(JournalError, match=r"damaged\.db cannot be opened.*move it away"):
        Journal(damaged)
    newer = tmp_path / "newer.db"
    Journal(newer).close()
    db = sqlite3.connect(newer)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match=r"newer\.db.*upgrade the agent"):
        Journal(newer)
