"""Pages of a hundred machines by a compound filter, in order: out of a hundred thousand, and as their number grows."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.copies import log_with, served
from bench.figure import Figure, Size, measure, percentile
from bench.load import in_turn
from bench.product import STORES, Product, message
from tests.support.postgres import PostgresCluster

SMALL, LARGE = 1_000, 100_000
PAGE, PAGES = 100, 3
FILTER = "state = Running AND cpu_num >= 2"
ORDERS = ("name", "create_date desc", "")
MANY, FEW, OTHER = "a" * 32, "b" * 32, "c" * 32
PASSWORD = "a password of its own"
# What the account with few has.
HAS = 100


@measure
def pages(size: Size) -> Iterator[Figure]:
    """The first pages of each order, again and again; machines are written into the log before the server starts."""
    rounds, seconds = size.of((5, 4.0), (2, 1.0))
    large = size.of(LARGE, 10_000)
    # One after the other, so that none has to share the machine.
    before, _ = _measured(SMALL, rounds, seconds)
    after, rate = _measured(large, rounds, seconds)
    note = f"{large:,} machines, {FILTER}, by {', '.join(order or 'uuid' for order in ORDERS)}"
    yield Figure("page_100_of_100k", "pages/s", rate, target=400, note=note)
    growth = Figure("page_growth_1k_to_100k", "ms", after, before, 1.5, more=False)
    growth.note = f"one call at a time; limit: the same of {SMALL:,} machines"
    yield growth
    for store in size.of(STORES, STORES[:1]):
        yield from _of_tenants(store, large, rounds, seconds)


def _of_tenants(store: str, machines: int, rounds: int, seconds: float) -> Iterator[Figure]:
    """Half of the machines are one account's; another has a few."""

    def owner_of(number: int) -> str:
        return MANY if number % 2 else FEW if number % (machines // HAS) == 0 else OTHER

    with tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place, contextlib.ExitStack() as stack:
        directory, arguments, address = Path(place) / "node", (), ""
        if store == "postgresql":
            cluster = PostgresCluster()
            stack.callback(cluster.remove)
            address = cluster.database()
            arguments = ("--store", address)
        log_with(directory, machines, address=address, jobs=False, owner_of=owner_of)
        it = stack.enter_context(served(directory, *arguments))
        tenants = {}
        for name, uuid in (("few", FEW), ("many", MANY)):
            it.admin.call("CreateAccount", resource_uuid=uuid, name=name, password=PASSWORD)
            tenants[name] = it.admin.logged_in(name, PASSWORD)
        for name, client in tenants.items():
            own = Product(it.server, client)
            asked = first_pages(own)
            rates = [own.drive("QueryVmInstance", in_turn(asked), seconds, in_flight=16).rate for _ in range(rounds)]
            label = f"page_100_of_100k_tenant_{name}" + ("" if store == "sqlite" else f"_{store}")
            owns = machines // 2 if name == "many" else HAS
            note = f"of an account with {owns:,} of {machines:,} machines"
            yield Figure(label, "pages/s", rates, note=note)


def _measured(machines: int, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of one call at a time, and calls a second of many."""
    with tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place:
        directory = Path(place) / "node"
        log_with(directory, machines, jobs=False)
        with served(directory) as it:
            asked = first_pages(it)
            waits, rates = [], []
            for _ in range(rounds):
                alone = it.drive("QueryVmInstance", in_turn(asked), seconds, in_flight=1)
                waits.append(percentile(alone.seconds, 0.5) * 1000)
                rates.append(it.drive("QueryVmInstance", in_turn(asked), seconds, in_flight=16).rate)
            return waits, rates


def first_pages(it: Product) -> list[bytes]:
    """Of each order."""
    made = []
    for order in ORDERS:
        token = ""
        for _ in range(PAGES):
            fields = {"filter": FILTER, "order_by": order, "page_size": PAGE, "page_token": token}
            made.append(message("QueryVmInstance", **fields))
            page = it.admin.call("QueryVmInstance", **fields)
            assert len(page.inventories) == PAGE or not page.next_page_token
            token = page.next_page_token
            if not token:
                break
    return made
