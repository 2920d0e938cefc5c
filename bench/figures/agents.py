"""Many agents on one node: memory of each, what their heartbeats cost, and how they come back after a power cut."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from bench.figure import Figure, Size, measure
from bench.ground import hosts
from bench.machine import cpu_seconds, resident
from bench.product import Product, product
from tests.support.sshd import free_port

IDLE_SECONDS = 30.0
LONGEST_SECONDS = 300.0
POLL_SECONDS = 0.1
SETTLE_SECONDS = 5.0


@measure
def agents(size: Size) -> Iterator[Figure]:
    """Simulated hosts over mutual TLS, each with a session of its own."""
    number = int(os.environ.get("BENCH_AGENTS", size.of(10_000, 200)))
    note = f"{number:,} agents"
    with product("sqlite", "--listen-agents", f"127.0.0.1:{free_port()}") as it:
        before = resident(it.pid)
        began = time.perf_counter()
        with hosts(it, number) as here:
            yield Figure("agents_added", "hosts/s", [number / (time.perf_counter() - began)], note=note)
            time.sleep(SETTLE_SECONDS)
            grown = resident(it.pid) - before
            yield Figure("agent_memory", "KiB/agent", [grown / number / 1024], target=125, more=False, note=note)
            cpu = cpu_seconds(it.pid)
            time.sleep(IDLE_SECONDS)
            used = (cpu_seconds(it.pid) - cpu) / IDLE_SECONDS
            allowed = 0.4 * number / 10_000
            yield Figure("agents_idle_cpu", "cores", [used], note=f"{note}; wanted: 0.4 for 10,000, here {allowed:.3f}")
            it.die_and_come_back()
            assert here.simulator.poll() is None
            yield _back(it, number, note)


def _back(it: Product, number: int, note: str) -> Figure:
    """Every agent has a session again."""
    began = time.perf_counter()
    there = 0
    while there < number and time.perf_counter() - began < LONGEST_SECONDS:
        with contextlib.suppress(OSError):
            found = it.admin.call("QueryManagementNode", page_size=10).inventories
            there = sum(node.agents for node in found)
        time.sleep(POLL_SECONDS)
    took = time.perf_counter() - began
    return Figure("agents_back_after_restart", "s", [took], target=60, more=False, note=f"{note}, {there:,} came back")
