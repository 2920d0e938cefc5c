"""The agent's journal: what was begun, what came of it, and which reports the node has not yet recorded."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zcloud.v1.agent_pb2 import Task, TaskReport

KEPT_SECONDS = 7 * 24 * 3600
FORMAT = 1
# How long a new agent waits for the one that it takes over from to end.
PATIENCE_SECONDS = 5.0

# Fences are unsigned 64-bit numbers and SQLite's integers are signed: eight big-endian bytes order the same way.
SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    task_uuid TEXT PRIMARY KEY,
    args_hash BLOB NOT NULL,
    resource_uuid TEXT NOT NULL,
    fence BLOB NOT NULL,
    begun_at REAL NOT NULL,
    done_at REAL,
    report BLOB,
    acknowledged_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS task_unacknowledged ON task (done_at)
    WHERE report IS NOT NULL AND acknowledged_at IS NULL;
CREATE INDEX IF NOT EXISTS task_acknowledged ON task (acknowledged_at) WHERE acknowledged_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS fence (
    resource_uuid TEXT PRIMARY KEY,
    fence BLOB NOT NULL
) WITHOUT ROWID;
"""


class JournalError(Exception):
    """The journal cannot be used; says which file, why, and what to do."""


@dataclass(frozen=True)
class Entry:
    """What the journal knows of one task; no report means begun and not finished."""

    args_hash: bytes
    report: TaskReport | None


def args_hash(task: Task) -> bytes:
    """Tells whether a task was sent again with the same arguments, which may hold secrets and are never kept."""
    return hashlib.sha256(task.args.type_url.encode() + b"\0" + task.args.value).digest()


class Journal:
    """One file per agent. Each write is on disk when the call returns; there is one writer, the agent.

    The calls block: a commit is shorter than anything a task does, and order matters more than overlap.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """Open or make the file; without a path the journal lives in memory and dies with the process."""
        self._clock = clock
        self._next_prune = 0.0
        if path is not None:
            # SQLite gives the -wal file the mode of the main one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(
            path or ":memory:", timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except (sqlite3.Error, JournalError) as error:
            self._db.close()
            raise self._explained(error, path) from error

    @staticmethod
    def _explained(error: Exception, path: Path | None) -> JournalError:
        if isinstance(error, JournalError):
            return JournalError(f"journal {path}: {error}")
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            return JournalError(f"journal {path} is in use: another agent or node that has it runs; stop that first")
        return JournalError(
            f"journal {path} cannot be opened: {error}; if the file is damaged, move it away: "
            "tasks that were being done will then be done again"
        )

    def _prepare(self) -> None:
        # Two agents on one journal would both act: the first keeps the file locked as long as it lives.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found > FORMAT:
            self._db.execute("ROLLBACK")
            raise JournalError(f"written by a newer agent (format {found}, this one knows {FORMAT}); upgrade the agent")
        for statement in filter(str.strip, SCHEMA.split(";")):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {FORMAT}")
        self._db.execute("COMMIT")

    def find(self, task_uuid: str) -> Entry | None:
        """What is known of a task; None when it was never begun here."""
        row = self._db.execute("SELECT args_hash, report FROM task WHERE task_uuid = ?", (task_uuid,)).fetchone()
        if row is None:
            return None
        return Entry(row[0], None if row[1] is None else TaskReport.FromString(row[1]))

    def max_fence(self, resource_uuid: str) -> int:
        """The greatest fence seen for a resource; 0 when there was none."""
        row = self._db.execute("SELECT fence FROM fence WHERE resource_uuid = ?", (resource_uuid,)).fetchone()
        return int.from_bytes(row[0], "big") if row else 0

    def begin(self, task: Task) -> None:
        """Before the effect. A task that was begun already stays as it is."""
        self._write(task, None)

    def finish(self, task: Task, report: TaskReport) -> None:
        """After the effect, or instead of it (a refusal was never begun). The first outcome stands."""
        self._write(task, report)

    def _write(self, task: Task, report: TaskReport | None) -> None:
        now = self._clock()
        fence = task.fence.to_bytes(8, "big")
        done_at, stored = (None, None) if report is None else (now, report.SerializeToString())
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute(
                "INSERT INTO task (task_uuid, args_hash, resource_uuid, fence, begun_at, done_at, report)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET done_at = excluded.done_at, report = excluded.report"
                " WHERE task.report IS NULL AND excluded.report IS NOT NULL",
                (task.task_uuid, args_hash(task), task.resource_uuid, fence, now, done_at, stored),
            )
            if task.resource_uuid:
                self._db.execute(
                    "INSERT INTO fence VALUES (?, ?)"
                    " ON CONFLICT DO UPDATE SET fence = excluded.fence WHERE excluded.fence > fence.fence",
                    (task.resource_uuid, fence),
                )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def acknowledge(self, task_uuid: str) -> None:
        """The node has the report in its log."""
        self._db.execute(
            "UPDATE task SET acknowledged_at = ?"
            " WHERE task_uuid = ? AND report IS NOT NULL AND acknowledged_at IS NULL",
            (self._clock(), task_uuid),
        )
        if self._clock() >= self._next_prune:
            self.prune()

    def unacknowledged(self) -> list[TaskReport]:
        """Reports that the node may not have, oldest first."""
        rows = self._db.execute(
            "SELECT report FROM task WHERE report IS NOT NULL AND acknowledged_at IS NULL ORDER BY done_at, task_uuid"
        )
        return [TaskReport.FromString(row[0]) for row in rows]

    def prune(self) -> int:
        """Forget reports that were acknowledged more than seven days ago; fences are kept. Done hourly by itself."""
        now = self._clock()
        self._next_prune = now + 3600
        return self._db.execute("DELETE FROM task WHERE acknowledged_at < ?", (now - KEPT_SECONDS,)).rowcount

    def close(self) -> None:
        """Let the file go."""
        self._db.close()
