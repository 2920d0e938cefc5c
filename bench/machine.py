"""What the measurements ran on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("grpcio", "protobuf", "uvloop", "eventsourcing", "sqlalchemy", "psycopg", "msgspec")


# Processes of a node by the module that they run; what is none of these is the node itself.
PROCESSES = {
    "zcloud.api.front.process": "front",
    "projections.worker": "read models",
    "zcloud.api.call_worker": "log of calls",
}


@lru_cache
def machine() -> dict[str, Any]:
    """Cores, memory, kernel, versions, the commit, and a sentence of it all."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    model = next((x.partition(":")[2].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "")
    versions = {name: metadata.version(name) for name in PACKAGES}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    made = {
        "cores": cores,
        "memory_gib": round(memory, 1),
        "cpu": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": versions,
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "load_before": os.getloadavg()[0],
    }
    parts = ", ".join(f"{name} {version}" for name, version in versions.items())
    made["text"] = (
        f"{cores} cores ({model}), {memory:.0f} GiB, Linux {made['kernel']}, Python {made['python']}, {parts}; "
        f"commit {made['commit']}, load before: {made['load_before']:.1f}"
    )
    return made


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of the children that it still has."""
    total = 0.0
    for task in [pid, *_descendants(pid)]:
        total += _cpu(task)
    return total


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_by_process(pid: int) -> dict[str, float]:
    """CPU seconds of a node by what its processes do, and of this one, which is the client."""
    spent = {"client": time.process_time()}
    for task in [pid, *_descendants(pid)]:
        argv = Path(f"/proc/{task}/cmdline").read_bytes().decode().split("\0")
        name = next((told for module, told in PROCESSES.items() if module in argv), "node")
        spent[name] = spent.get(name, 0.0) + _cpu(task)
    return spent


def resident(pid: int) -> int:
    """Bytes of a process in memory, its children left out."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _descendants(pid: int) -> list[int]:
    children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [d for child in children for d in _descendants(child)]
