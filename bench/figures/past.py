"""The past: pages of a long history, a resource and a query as of then, and the start of a node, in a long log."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.copies import log_with, renamed, served
from bench.figure import Figure, Size, measure, percentile
from bench.product import Product
from zcloud.api import position
from zcloud.kernel.store import open_store

# Of a machine: 29 events, its job's among them.
MACHINES = 34_200
CHANGES = 10_000
PAGE = 100
FILTER = 'state = Running AND cpu_num >= 2 AND vm_nics.ip : "10.0."'
LOOKS, GETS = 7, 200


@measure
def past(size: Size) -> Iterator[Figure]:
    """A log of a million events."""
    with tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place:
        directory = Path(place) / "node"
        log_with(directory, size.of(MACHINES, 1_000))
        store = open_store(directory)
        uuid = next(r.resource_uuid for r in store.read_all(store.head() // 2, 1000) if r.kind == "vm_instance")
        renamed(store, uuid, CHANGES)
        head = store.head()
        store.close()
        with served(directory):
            pass  # read models are made
        yield _first_command(directory, head)
        with served(directory) as it:
            yield _history(it, uuid)
            yield from _gets(it, uuid, head)
            yield _queries(it, head)


def _first_command(directory: Path, head: int) -> Figure:
    figure = Figure("first_command_after_start", "s", [], target=5.0, more=False, note=f"a log of {head:,} events")
    for n in range(3):
        began = time.perf_counter()
        with served(directory) as it:
            it.admin.call("CreateZone", name=f"first-{n}")
            figure.values.append(time.perf_counter() - began)
    return figure


def _history(it: Product, uuid: str) -> Figure:
    figure = Figure("history_pages", "pages/s", [], target=100, note=f"{PAGE} events each of {CHANGES:,}, with values")
    for _ in range(3):
        began, pages, token = time.perf_counter(), 0, ""
        while True:
            page = it.admin.call("GetHistory", resource_uuid=uuid, page_size=PAGE, page_token=token)
            pages, token = pages + 1, page.next_page_token
            if not token:
                break
        assert pages >= CHANGES // PAGE
        figure.values.append(pages / (time.perf_counter() - began))
    return figure


def _gets(it: Product, changed: str, head: int) -> Iterator[Figure]:
    page = it.admin.call("QueryVmInstance", page_size=GETS, order_by="uuid")
    chance = random.Random(1)
    asked = [(vm.uuid, head) for vm in page.inventories]
    # At any moment of the renaming, which ends the log.
    asked_long = [(changed, head - chance.randrange(CHANGES)) for _ in range(GETS)]
    for name, every in (("get_at_time", asked), ("get_at_time_long", asked_long)):
        values = [_timed(it, "GetVmInstance", uuid=uuid, at_position=position.encode(at)) for uuid, at in every]
        note = f"p99 {percentile(values, 0.99):.1f} ms" + ("" if every is asked else f"; {CHANGES:,} events")
        yield Figure(name, "ms", values, target=50, more=False, note=note)


def _queries(it: Product, head: int) -> Figure:
    chance = random.Random(2)
    figure = Figure(
        "query_at_time", "s", [], target=3.0, more=False, note=f"{head:,} events; at another moment each time"
    )
    for n in range(1, LOOKS + 1):
        at = head * n // LOOKS - chance.randrange(100)
        asked: dict[str, Any] = {"filter": FILTER, "order_by": "name", "at_position": position.encode(at)}
        figure.values.append(_timed(it, "QueryVmInstance", **asked) / 1000)
    figure.note += f"; the longest {max(figure.values):.2f} s"
    return figure


def _timed(it: Product, rpc: str, **fields: Any) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    it.admin.call(rpc, **fields)
    return (time.perf_counter() - began) * 1000
