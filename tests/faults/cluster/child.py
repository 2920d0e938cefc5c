"""What is different in a node of these tests: it notes what it wrote about work that is shared out, and it stands still
in the middle of a decision when it is told to."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.cluster.mutants import LATE, NODES
from zcloud.kernel.leases import partition_of
from zcloud.kernel.record import Append
from zcloud.kernel.store.postgres import PostgresRecorder

# The mistake that it makes.
MUTANT = "ZCLOUD_TEST_MUTANT"
NOTES = "fences"
# A file in its directory: stand still before such a decision is written. "": of any work, else of this partition.
HOLD = "hold"
# Its answer: the partition.
HELD = "held"
# A process that has sent itself SIGSTOP goes on for a moment; this one must not write in it.
STOPPED_SECONDS = 0.2
INTENT = "job.StepDispatched"


_append = PostgresRecorder.append_batch


def _work(append: Append) -> tuple[int, int] | None:
    """Partition and epoch of work that only its owner may decide about; epoch -1: it bears no fence.

    Only a job's driver writes an intent: such a decision must bear one.
    """
    if append.fence is not None:
        return append.fence
    driven = next((r.job_uuid for r in append.records if r.topic == INTENT), "")
    return (partition_of(driven), -1) if driven else None


def _noting(directory: Path, notes: int) -> Any:
    hold, held = directory / HOLD, directory / HELD

    def stand_still(appends: Sequence[Append]) -> None:
        """When this is what was waited for: it is decided, and not written."""
        try:
            wanted = hold.read_text()
        except FileNotFoundError:
            return
        works = [work for work in map(_work, appends) if work is not None]
        parts = [part for part, _ in works if wanted in ("", str(part))]
        if parts:
            hold.unlink(missing_ok=True)
            held.write_text(str(parts[0]))
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # sooner than by any other thread
            time.sleep(STOPPED_SECONDS)

    def append_batch(self: PostgresRecorder, appends: Sequence[Append]) -> Any:
        if hold.exists():
            stand_still(appends)
        outcomes = _append(self, appends)
        lines = []
        for append, outcome in zip(appends, outcomes, strict=True):
            work = _work(append)
            if work is not None and isinstance(outcome, list) and outcome:
                lines.append(f"{outcome[0].position} {work[0]} {work[1]}\n")
        if lines:
            os.write(notes, "".join(lines).encode())
        return outcomes

    return append_batch


def begin(argv: list[str]) -> None:
    """In the child, before its main."""
    if mutant := os.environ.get(MUTANT):
        {**NODES, **LATE}[mutant][1]().__enter__()
    if argv[:1] == ["serve"]:
        directory = Path(argv[argv.index("--data") + 1])
        directory.mkdir(exist_ok=True)
        notes = os.open(directory / NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        PostgresRecorder.append_batch = _noting(directory, notes)  # type: ignore[method-assign]
