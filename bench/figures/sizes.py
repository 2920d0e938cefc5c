"""Cost against size: the same figures with a thousand, ten thousand and a hundred thousand machines in the log."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.copies import log_with, served
from bench.figure import Figure, Size, measure
from bench.figures.pages import first_pages
from bench.figures.vms import HOSTS, IN_FLIGHT, creations
from bench.ground import ready
from bench.load import in_turn
from bench.machine import resident
from bench.product import Product, message

NUMBERS, QUICK_NUMBERS = (1_000, 10_000, 100_000), (500, 2_000)
VMS, QUICK_VMS = 500, 100
# Machines that are asked for by uuid and changed, of all that there are.
SOME = 1000


@measure
def sizes(size: Size) -> Iterator[Figure]:
    """The limit of each is the same figure with the fewest machines."""
    least: dict[str, float] = {}
    for number in size.of(NUMBERS, QUICK_NUMBERS):
        with tempfile.TemporaryDirectory(prefix="zcloud-bench-", ignore_cleanup_errors=True) as place:
            directory = Path(place) / "node"
            log_with(directory, number, jobs=False)
            with served(directory):
                pass  # the read models are made once
            began = time.perf_counter()
            with served(directory) as it:
                found = {"start": ("s", time.perf_counter() - began, False)}
                for name, unit, ask in _asked(it, Path(place), size):
                    found[name] = (unit, ask(), True)
                found["resident"] = ("MiB", resident(it.pid) / (1 << 20), False)
        for name, (unit, value, more) in found.items():
            limits = [least[name]] if name in least else []
            least.setdefault(name, value)
            yield Figure(f"{name}_at_{number}", unit, [value], limits, more=more, note=f"{number:,} machines")


def _asked(it: Product, place: Path, size: Size) -> Iterator[tuple[str, str, Callable[[], float]]]:
    """Name, unit, and what measures it, a second each in a quick run."""
    seconds = size.of(4.0, 1.0)
    some = [vm.uuid for vm in it.admin.call("QueryVmInstance", page_size=SOME, order_by="uuid").inventories]

    def rate(rpc: str, requests: Iterator[bytes], **how: int) -> Callable[[], float]:
        ids = {} if rpc.startswith(("Get", "Query")) else {"ids": f"{rpc}-"}
        return lambda: it.drive(rpc, requests, seconds, **ids, **how).rate

    zones = (message("CreateZone", name=f"size-{n}") for n in itertools.count())
    yield "creations", "commands/s", rate("CreateZone", zones)
    edits = (message("UpdateVmInstance", uuid=u, description=f"d{n}") for n in itertools.count() for u in some)
    yield "updates_of_vms", "commands/s", rate("UpdateVmInstance", edits)
    yield "reads_of_vms", "reads/s", rate("GetVmInstance", in_turn([message("GetVmInstance", uuid=u) for u in some]))
    yield "pages", "pages/s", rate("QueryVmInstance", in_turn(first_pages(it)), in_flight=16)

    def made() -> float:
        number = size.of(VMS, QUICK_VMS)
        with ready(it, place, HOSTS) as here:
            creations(it, here, "warm", IN_FLIGHT)
            return number / creations(it, here, "more", number).seconds

    yield "vm_creations", "VMs/s", made
