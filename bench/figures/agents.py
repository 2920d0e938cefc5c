"""Many agents on one node: memory of each, what their heartbeats cost, and how they come back after a power cut."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

from bench.figure import Figure, Size, measure, percentile
from bench.ground import fleets
from bench.machine import cpu_seconds, resident
from bench.product import Product, product
from tests.support.cloud import ApiError
from tests.support.sshd import free_port

WANTED = 10_000
# For so many: in memory with all that the node is besides; a share of one core while nothing happens.
WANTED_MIB, WANTED_CORES, WANTED_BACK_SECONDS, WANTED_CALL_MS = 1.2 * 1024, 0.4, 60, 1000
PROCESSES = 4
# At least one heartbeat of each; a quick look at few is not worth more.
IDLE_SECONDS, QUICK_IDLE_SECONDS = 30.0, 10.0
LONGEST_SECONDS = 300.0
POLL_SECONDS = 0.1
SETTLE_SECONDS = 5.0


@measure
def agents(size: Size) -> Iterator[Figure]:
    """Simulated hosts over mutual TLS, each with a session and a connection of its own."""
    number = int(os.environ.get("BENCH_AGENTS", size.of(WANTED, 200)))
    note = f"{number:,} agents"
    with product("sqlite", "--listen-agents", f"127.0.0.1:{free_port()}") as it:
        before = resident(it.pid)
        began = time.perf_counter()
        with fleets(it, number, size.of(PROCESSES, 1)) as simulators:
            yield Figure("agents_added", "hosts/s", [number / (time.perf_counter() - began)], note=note)
            time.sleep(SETTLE_SECONDS)
            all_in_all = resident(it.pid)
            each = (all_in_all - before) / number / 1024
            yield Figure("agent_memory", "KiB/agent", [each], target=125, more=False, note=note)
            yield _whole("agents_resident", number, all_in_all, note)
            cpu = cpu_seconds(it.pid)
            idle = size.of(IDLE_SECONDS, QUICK_IDLE_SECONDS)
            time.sleep(idle)
            used = (cpu_seconds(it.pid) - cpu) / idle
            allowed = WANTED_CORES if number >= WANTED else None
            yield Figure(
                "agents_idle_cpu", "cores", [used], target=allowed, more=False, note=f"{note}, heartbeats only"
            )
            yield from _storm(it, number, note)
            assert all(simulator.poll() is None for simulator in simulators)


def _whole(name: str, number: int, resident_bytes: int, note: str) -> Figure:
    """Memory of the node, the agents and everything else."""
    target = WANTED_MIB if number >= WANTED else None
    return Figure(name, "MiB", [resident_bytes / (1 << 20)], target=target, more=False, note=note)


def _storm(it: Product, number: int, note: str) -> Iterator[Figure]:
    """A power cut, and every agent has a session again; somebody calls meanwhile."""
    began = time.perf_counter()
    it.die_and_come_back()
    calls: list[float] = []
    refused: list[str] = []
    over = threading.Event()
    caller = threading.Thread(target=_call, args=(it, calls, refused, over))
    caller.start()
    there = 0
    try:
        while there < number and time.perf_counter() - began < LONGEST_SECONDS:
            with contextlib.suppress(ApiError):
                found = it.admin.call("QueryManagementNode", page_size=10).inventories
                there = sum(node.agents for node in found)
            time.sleep(POLL_SECONDS)
        took = time.perf_counter() - began
        used = cpu_seconds(it.pid)
    finally:
        over.set()
        caller.join()
    text = f"{note}, {there:,} came back; from the SIGKILL on, the start included"
    yield Figure("agents_back_after_restart", "s", [took], target=WANTED_BACK_SECONDS, more=False, note=text)
    yield Figure("agents_storm_cpu", "CPU s", [used], more=False, note=f"{note}; the node and its children until then")
    p99, note_p99 = percentile(calls, 0.99) * 1000, f"{len(calls)} commands meanwhile, {len(refused)} refused"
    yield Figure("agents_storm_command_p99", "ms", [p99], target=WANTED_CALL_MS, more=False, note=note_p99)
    yield _whole("agents_resident_after_storm", number, resident(it.pid), note)


def _call(it: Product, calls: list[float], refused: list[str], over: threading.Event) -> None:
    """A durable command now and then, as somebody at a screen does."""
    client = it.server.admin
    while not over.wait(POLL_SECONDS):
        began = time.perf_counter()
        try:
            client.call("CreateZone", name="in the storm")
        except ApiError as error:
            refused.append(error.told)
        calls.append(time.perf_counter() - began)
