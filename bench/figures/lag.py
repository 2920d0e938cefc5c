"""How long a query waits to see what was just answered, while others write at half the rate that is possible."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

from bench.figure import Figure, Size, measure, percentile
from bench.product import STORES, Product, message, product

PAUSE_SECONDS = 0.02
TARGET_MS = 50


@measure
def lag(size: Size) -> Iterator[Figure]:
    """A query waits for the read models to hold everything answered before: the wait is their lag."""
    seconds = size.of(8.0, 2.0)
    for store in STORES:
        with product(store) as it:
            names = (message("CreateZone", name=f"lag-{n:07}") for n in itertools.count())
            rate = it.drive("CreateZone", names, 2.0).rate
            waits: list[float] = []
            done = threading.Event()
            asker = threading.Thread(target=_ask, args=(it, waits, done))
            asker.start()
            it.drive("CreateZone", names, seconds, rate=rate / 2)
            done.set()
            asker.join()
        note = f"{len(waits)} queries right after a command, {rate / 2:,.0f} commands/s beside; the call included"
        p99 = percentile(waits, 0.99) * 1000
        yield Figure(f"query_sees_write_p99_{store}", "ms", [p99], target=TARGET_MS, more=False, note=note)
        yield Figure(f"query_sees_write_p50_{store}", "ms", [percentile(waits, 0.5) * 1000], more=False)


def _ask(it: Product, waits: list[float], done: threading.Event) -> None:
    client = it.server.admin
    for n in itertools.count():
        if done.is_set():
            return
        uuid = client.call("CreateZone", name=f"seen-{n}").inventory.uuid
        began = time.perf_counter()
        found = client.call("QueryZone", filter=f'uuid = "{uuid}"').inventories
        waits.append(time.perf_counter() - began)
        assert len(found) == 1
        time.sleep(PAUSE_SECONDS)
