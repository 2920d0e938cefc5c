"""VMs a second from the call until they run, on simulated hosts: every step an event, every task acknowledged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.echo import fastest_echo
from bench.figure import Figure, Size, measure
from bench.ground import Ground, ready
from bench.machine import cpu_seconds, resident
from bench.product import STORES, Product, lost, message, product

HOSTS = 40
IN_FLIGHT = 64
LONGEST_SECONDS = 600.0
POLL_SECONDS = 0.1
ECHO_SECONDS, QUICK_ECHO_SECONDS = 2.0, 0.5


@dataclass
class Round:
    """accepted: calls a second. answers: of those calls. seconds: until the last one ran. cpu: of the node, seconds."""

    accepted: float
    answers: list[bytes]
    seconds: float
    cpu: float


@measure
def vms(size: Size) -> Iterator[Figure]:
    """The best rival known on such a machine makes 3.5 a second, at 0.4 CPU seconds each."""
    for store in size.of(STORES, STORES[:1]):
        with (
            product(store) as it,
            tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place,
            ready(it, Path(place), HOSTS) as here,
        ):
            yield from _on(it, here, "" if store == "sqlite" else f"_{store}", size)


def _on(it: Product, here: Ground, suffix: str, size: Size) -> Iterator[Figure]:
    number, rounds = size.of((1000, 3), (200, 1))
    made = Figure(f"vm_create_end_to_end{suffix}", "VMs/s", [], target=200)
    made.note = f"{number} at a time, {HOSTS} simulated hosts"
    cost = Figure(
        f"vm_create_cpu{suffix}", "CPU s/VM", [], target=0.01, more=False, note="node and its children, no hosts"
    )
    calls = Figure(f"durable_vm_creations{suffix}", "calls/s", [], [])
    acknowledged = creations(it, here, "warm", IN_FLIGHT).answers
    before = resident(it.pid)
    request = message("CreateVmInstance", name="r0-000", **here.fields)
    with fastest_echo(request, len(acknowledged[0])) as echo:
        for n in range(rounds):
            limit = echo.drive(
                request, size.of(ECHO_SECONDS, QUICK_ECHO_SECONDS), it.admin.token, ids="echo-", in_flight=IN_FLIGHT
            )
            found = creations(it, here, f"r{n}", number)
            made.values.append(number / found.seconds)
            cost.values.append(found.cpu / number)
            calls.values.append(found.accepted)
            calls.limits.append(limit.rate)
            acknowledged += found.answers
        calls.note = f"while those before are made; limit: echo on grpc ({echo.kind})"
    grown = (resident(it.pid) - before) / (number * rounds)
    gone = lost(it, "CreateVmInstance", "QueryVmInstance", acknowledged)
    calls.note += f"; SIGKILL, then {len(acknowledged):,} acknowledged looked for, {gone} lost"
    assert not gone, calls.note
    yield made
    yield cost
    yield calls
    note = "growth of the node; job and history too"
    yield Figure(f"vm_memory{suffix}", "KiB/VM", [grown / 1024], more=False, note=note)


def creations(it: Product, here: Ground, name: str, number: int) -> Round:
    """Make so many, and wait until all run."""
    requests = [message("CreateVmInstance", name=f"{name}-{n}", **here.fields) for n in range(number)]
    began, cpu = time.perf_counter(), cpu_seconds(it.pid)
    load = it.drive("CreateVmInstance", iter(requests), LONGEST_SECONDS, in_flight=IN_FLIGHT, ids=f"{name}-", keep=True)
    accepted = number / (time.perf_counter() - began)
    end = time.monotonic() + LONGEST_SECONDS
    while True:
        query = f'name = "{name}-*" AND state = Running'
        if it.admin.call("QueryVmInstance", filter=query, page_size=1, count=True).total >= number:
            return Round(accepted, load.answers, time.perf_counter() - began, cpu_seconds(it.pid) - cpu)
        if time.monotonic() > end:
            raise RuntimeError(f"not all of {number} VMs run after {LONGEST_SECONDS} s")
        time.sleep(POLL_SECONDS)
