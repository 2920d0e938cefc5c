"""VMs a second from the call until they run, on simulated hosts: every step an event, every task acknowledged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, Size, measure
from bench.ground import Ground, ready
from bench.machine import cpu_seconds, resident
from bench.product import Product, message, product

HOSTS = 40
IN_FLIGHT = 64
LONGEST_SECONDS = 600.0
POLL_SECONDS = 0.1


@measure
def vms(size: Size) -> Iterator[Figure]:
    """The best rival known on such a machine makes 3.5 a second, at 0.4 CPU seconds each."""
    number, rounds = size.of((1000, 3), (200, 1))
    made = Figure("vm_create_end_to_end", "VMs/s", [], target=200, note=f"{number} at a time, {HOSTS} simulated hosts")
    cost = Figure("vm_create_cpu", "CPU s/VM", [], target=0.01, more=False, note="node and its children, no hosts")
    calls = Figure("vm_create_accepted", "calls/s", [])
    with (
        product() as it,
        tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place,
        ready(it, Path(place), HOSTS) as here,
    ):
        _round(it, here, "warm", IN_FLIGHT)
        before = resident(it.pid)
        for n in range(rounds):
            cpu, began = cpu_seconds(it.pid), time.perf_counter()
            accepted = _round(it, here, f"r{n}", number)
            took = time.perf_counter() - began
            made.values.append(number / took)
            calls.values.append(accepted)
            cost.values.append((cpu_seconds(it.pid) - cpu) / number)
        grown = (resident(it.pid) - before) / (number * rounds)
    yield made
    yield cost
    yield calls
    yield Figure("vm_memory", "KiB/VM", [grown / 1024], more=False, note="growth of the node; job and history too")


def _round(it: Product, here: Ground, name: str, number: int) -> float:
    """Make so many, and wait until all run; gives the rate at which calls were accepted."""
    requests = [message("CreateVmInstance", name=f"{name}-{n}", **here.fields) for n in range(number)]
    began = time.perf_counter()
    it.drive("CreateVmInstance", iter(requests), LONGEST_SECONDS, in_flight=IN_FLIGHT, ids=f"{name}-")
    accepted = number / (time.perf_counter() - began)
    end = time.monotonic() + LONGEST_SECONDS
    while True:
        query = f'name = "{name}-*" AND state = Running'
        if it.admin.call("QueryVmInstance", filter=query, page_size=1, count=True).total >= number:
            return accepted
        if time.monotonic() > end:
            raise RuntimeError(f"not all of {number} VMs run after {LONGEST_SECONDS} s")
        time.sleep(POLL_SECONDS)
