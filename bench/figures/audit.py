"""How fast a log is hashed and signed by the notary, and verified against its checkpoints."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.figure import Figure, Size, measure
from tests.kernel.proof.logs import STORE, log_with_checkpoints, records
from zcloud.kernel.proof.notary import follow
from zcloud.kernel.proof.proof import Proof
from zcloud.kernel.proof.raw import open_raw
from zcloud.kernel.proof.verify import verify
from zcloud.kernel.store.sqlite import SqliteRecorder

ROUNDS = 3
EVERY = 20_000
TARGET = 300_000
JOBS = 2


@measure
def audit(size: Size) -> Iterator[Figure]:
    """Records a second; the notary in one process, the verification in two.

    The target is of the clock on the wall, which others on the machine slow down; the cost in CPU tells that apart.
    """
    number = size.of(600_000, 100_000)
    hashing = Figure("audit_follow", "records/s", [])
    verifying = Figure("audit_verify", "records/s", [], target=TARGET, note=f"{number:,} records, {JOBS} processes")
    cost = Figure("audit_verify_cpu", "records/CPU s", [], note="start of the processes included")
    with tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place:
        directory = Path(place) / "data"
        log_with_checkpoints(directory, EVERY, EVERY)
        store = SqliteRecorder(directory / "log.db")
        for first in range(EVERY, number, EVERY):
            store.insert_events(records(first, EVERY))
            began = time.perf_counter()
            done = follow(directory, "", STORE, first)
            hashing.values.append(done / (time.perf_counter() - began))
        store.close()
        for _ in range(ROUNDS):
            raw = open_raw(directory)
            began, cpu = time.perf_counter(), _cpu()
            report = verify(raw, Proof.of(directory), partial(open_raw, directory), JOBS)
            verifying.values.append(report.verified / (time.perf_counter() - began))
            cost.values.append(report.verified / (_cpu() - cpu))
            raw.close()
            assert report.good
            assert report.verified == number
    yield hashing
    yield verifying
    yield cost


def _cpu() -> float:
    """Seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
