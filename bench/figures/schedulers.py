"""Schedulers that are due in one second, among many that are not: each runs once, and people do not wait for it."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure, Size, measure, percentile
from bench.ground import ready
from bench.machine import cpu_seconds
from bench.product import Product, message, product
from zcloud.api.rpcs import rpcs
from zcloud.kernel.clock import SECOND
from zcloud.processes.operations.scheduling.due import Due

HOSTS = 40
IN_FLIGHT = 64
# All that are due at once are to have run within a minute.
DUE, WITHIN_SECONDS = 10_000, 60
# What can be furnished at the least on a slow machine: how far ahead the moment must lie.
FURNISHED_A_SECOND = 120
LONGEST_SECONDS = 900.0
YEAR = 365 * 86_400
ZONES = 100


@measure
def schedulers(size: Size) -> Iterator[Figure]:
    """One scheduler and one job each; what is not due costs nothing."""
    existing, due, vms = size.of((100_000, DUE, 2_000), (1_000, 250, 50))
    yield _looking(existing)
    with product() as it:
        _make(it, "later", existing, int(time.time()) + 10 * YEAR)
        zones = [it.admin.call("CreateZone", name=f"z{n}").inventory.uuid for n in range(ZONES)]
        fields = {"action": "UpdateZone", "arguments": '{"description": "done"}'}
        yield from _run(it, "schedulers_due", due, zones, fields, f"among {existing:,}; the action changes a row")
    with (
        product() as it,
        tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place,
        ready(it, Path(place), HOSTS) as here,
    ):
        requests = (message("CreateVmInstance", name=f"vm{n}", **here.fields) for n in range(vms))
        it.drive("CreateVmInstance", requests, LONGEST_SECONDS, in_flight=IN_FLIGHT)
        _await(it, "QueryVmInstance", "state = Running", vms)
        machines = _uuids(it, "QueryVmInstance")
        note = f"each stops a VM on one of {HOSTS} simulated hosts, from its moment to the end of its job"
        yield from _run(it, "schedulers_due_on_hosts", vms, machines, {"type": "stop_vm"}, note)


def _looking(existing: int) -> Figure:
    """One look for what is due, against one among a thousand."""
    few, many = ([_look(number) for _ in range(5)] for number in (1000, existing))
    name, note = "schedulers_look", f"µs with 1,000 as the limit: what is not due ({existing:,}) costs nothing"
    return Figure(name, "µs", many, few, target=2.0, more=False, note=note)


def _look(existing: int) -> float:
    due = Due()
    for n in range(existing):
        due.put(f"{n:032x}", SECOND + n)
    began = time.perf_counter()
    for _ in range(2000):
        due.take(0, 100)
        due.next()
    return (time.perf_counter() - began) / 2000 * 1e6


def _make(it: Product, name: str, number: int, start: int) -> list[str]:
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(start))}Z"
    requests = (_scheduler(f"{name}-{n}", moment) for n in range(number))
    load = it.drive(
        "CreateScheduler", requests, LONGEST_SECONDS, in_flight=IN_FLIGHT, keep=True, ids=f"{name}-scheduler-"
    )
    response: Any = rpcs()["CreateScheduler"].response
    return [response.FromString(answer).inventory.uuid for answer in load.answers]


def _scheduler(name: str, moment: str) -> bytes:
    request: Any = rpcs()["CreateScheduler"].request(name=name)
    request.start_time.FromJsonString(moment)
    return bytes(request.SerializeToString())


def _run(it: Product, name: str, due: int, targets: list[str], fields: dict[str, Any], note: str) -> Iterator[Figure]:
    """So many are due at one moment; watched until all have run."""
    moment = int(time.time()) + 5 + due // FURNISHED_A_SECOND
    made = _make(it, name, due, moment)
    orders = (
        message("CreateSchedulerJob", name=f"j{n}", scheduler_uuids=[uuid], resource_uuids=[target], **fields)
        for n, (uuid, target) in enumerate(zip(made, itertools.cycle(targets)))
    )
    it.drive("CreateSchedulerJob", orders, LONGEST_SECONDS, in_flight=IN_FLIGHT, ids=f"{name}-job-")
    left = moment - time.time()
    if left < 0:
        raise RuntimeError(f"{due} schedulers could not be made in time: {-left:.0f} s too late")
    time.sleep(left)
    cpu, waits = cpu_seconds(it.pid), list(_await(it, "QuerySchedulerOccurrence", "state = Succeeded", due))
    seconds = time.time() - moment
    cpu = cpu_seconds(it.pid) - cpu
    runs = it.admin.call("QuerySchedulerOccurrence", page_size=1, count=True).total
    assert runs == due, f"{runs} runs of {due} schedulers"
    rate = DUE / WITHIN_SECONDS
    note = f"{due:,} due in one second {note}; all within {seconds:.1f} s, each once"
    yield Figure(name, "runs/s", [due / seconds], target=rate, note=note)
    yield Figure(f"{name}_cpu", "CPU ms/run", [cpu / due * 1000], more=False, note="node and its children")
    p99 = percentile(waits, 0.99) * 1000
    note = f"{len(waits)} calls beside, p50 {percentile(waits, 0.5) * 1000:.0f} ms"
    yield Figure(f"{name}_call_p99", "ms", [p99], target=1000, more=False, note=note)


def _await(it: Product, rpc: str, filter: str, number: int) -> list[float]:
    """Until so many are there; how long other people's queries took meanwhile."""
    waits, end = [], time.monotonic() + LONGEST_SECONDS
    while it.admin.call(rpc, filter=filter, page_size=1, count=True).total < number:
        if time.monotonic() > end:
            raise RuntimeError(f"{rpc} {filter}: not {number} after {LONGEST_SECONDS} s")
        began = time.perf_counter()
        it.admin.call("QueryZone", page_size=1)
        waits.append(time.perf_counter() - began)
        time.sleep(0.1)
    return waits


def _uuids(it: Product, rpc: str) -> list[str]:
    found, token = [], ""
    while True:
        page = it.admin.call(rpc, page_size=1000, page_token=token, order_by="uuid")
        found += [one.uuid for one in page.inventories]
        token = page.next_page_token
        if not token:
            return found
