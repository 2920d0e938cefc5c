"""Several processes write to one PostgreSQL while a follower reads at the head: nothing is missed, all is in order.

`make faults EVENTS=1000000` writes a million; without it, a tenth of that.
"""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.kernel.store.writers import Follower, Writers, check
from tests.support.postgres import PostgresCluster
from zcloud.kernel.store.postgres import PATIENCE_SECONDS, PostgresRecorder

EVENTS = int(os.environ.get("EVENTS") or "100000")
PROCESSES = 4
KILLS = 3
# A writer that reads when it happens does not lose patience. Both do, seldom; never so often.
MOST_KILLS = 20


@pytest.mark.faults
def test_a_follower_at_the_head_misses_nothing(postgres: PostgresCluster) -> None:
    address = postgres.database()
    store = PostgresRecorder(address)
    follower = Follower(store)
    follower.start()
    with Writers(address, PROCESSES, EVENTS // PROCESSES) as writers:
        results = writers.results()
    records = follower.finish()
    store.close()
    check(records, results)
    assert len(records) == sum(len(r["seen"]) for r in results) >= EVENTS
    # Otherwise nothing was tried: writers met, and the follower was there while they wrote.
    assert sum(r["happened"].get("conflict", 0) for r in results) > PROCESSES
    assert follower.reads > 50
    assert len({str(r.originator_id)[:2] for r in records[: len(records) // 2]}) > 2


def test_a_database_that_is_killed_under_load_forgets_nothing(postgres: PostgresCluster) -> None:
    address = postgres.database()
    store = PostgresRecorder(address)
    follower = Follower(store)
    follower.start()
    kills = 0
    with Writers(address, 2, 10_000_000) as writers:
        while {"w0", "w1"} - {str(r.originator_id)[:2] for r in list(follower.records)}:
            assert writers.at_work, "a writer did not begin"
            time.sleep(0.01)
        # Some writers lose patience and have to ask again themselves; otherwise their stores do.
        while kills < KILLS or not writers.away.exists():
            assert kills < MOST_KILLS, "no writer was writing when its server was killed"
            seen = len(follower.records)
            while len(follower.records) < seen + 1000:
                assert writers.at_work, "a writer fell"
                time.sleep(0.01)
            postgres.kill()
            kills += 1
            lost = time.monotonic() + (0 if writers.away.exists() else PATIENCE_SECONDS + 4)
            while time.monotonic() < lost and not writers.away.exists():
                time.sleep(0.01)
            postgres.start()
        writers.end()
        results = writers.results()
    records = follower.finish()
    store.close()
    check(records, results)
    assert sum(r["happened"].get("away", 0) for r in results) > 0


def test_many_nodes_may_start_at_once_on_an_empty_database(postgres: PostgresCluster) -> None:
    address = postgres.database()
    stores: list[PostgresRecorder] = []
    threads = [threading.Thread(target=lambda: stores.append(PostgresRecorder(address))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 8
    assert len({store.incarnation(str(n)) for n, store in enumerate(stores)}) == 1
    for store in stores:
        store.close()
