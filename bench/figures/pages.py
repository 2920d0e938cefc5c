"""Pages of a hundred machines by a compound filter, in order: out of a hundred thousand, and as their number grows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.copies import log_with, served
from bench.figure import Figure, Size, measure, percentile
from bench.load import in_turn
from bench.product import Product, message

SMALL, LARGE = 1_000, 100_000
PAGE, PAGES = 100, 3
FILTER = "state = Running AND cpu_num >= 2"
ORDERS = ("name", "create_date desc", "")


@measure
def pages(size: Size) -> Iterator[Figure]:
    """The first pages of each order, again and again; machines are written into the log before the server starts."""
    rounds, seconds = size.of((5, 4.0), (3, 2.0))
    large = size.of(LARGE, 20_000)
    # One after the other, so that none has to share the machine.
    before, _ = _measured(SMALL, rounds, seconds)
    after, rate = _measured(large, rounds, seconds)
    note = f"{large:,} machines, {FILTER}, by {', '.join(order or 'uuid' for order in ORDERS)}"
    yield Figure("page_100_of_100k", "pages/s", rate, target=400, note=note)
    growth = Figure("page_growth_1k_to_100k", "ms", after, before, 1.5, more=False)
    growth.note = f"one call at a time; limit: the same of {SMALL:,} machines"
    yield growth


def _measured(machines: int, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of one call at a time, and calls a second of many."""
    with tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place:
        directory = Path(place) / "node"
        log_with(directory, machines, jobs=False)
        with served(directory) as it:
            asked = _requests(it)
            waits, rates = [], []
            for _ in range(rounds):
                alone = it.drive("QueryVmInstance", in_turn(asked), seconds, in_flight=1)
                waits.append(percentile(alone.seconds, 0.5) * 1000)
                rates.append(it.drive("QueryVmInstance", in_turn(asked), seconds, in_flight=16).rate)
            return waits, rates


def _requests(it: Product) -> list[bytes]:
    made = []
    for order in ORDERS:
        token = ""
        for _ in range(PAGES):
            fields = {"filter": FILTER, "order_by": order, "page_size": PAGE, "page_token": token}
            made.append(message("QueryVmInstance", **fields))
            page = it.admin.call("QueryVmInstance", **fields)
            assert len(page.inventories) == PAGE
            token = page.next_page_token
            if not token:
                break
    return made
