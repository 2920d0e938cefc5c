"""A log with any number of machines: a few are created on simulated hosts, the others are copies of their records."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.product import Product, Served
from tests.api.compute.ground import ground
from zcloud.kernel.record import Record
from zcloud.kernel.store import Store, open_store

CPUS = (1, 2, 4, 8)
BATCH = 5000
HEX = re.compile(r"[0-9a-f]{32}")
OWNER = re.compile(rb'"account_uuid":"([0-9a-f]{32})"')
ADDRESS, MAC = re.compile(rb"10\.0\.0\.\d+"), re.compile(rb"fa:[0-9a-f:]{14}")


def originals(directory: Path) -> list[list[Record]]:
    """What is written for each of some machines, half of which are stopped; the cloud's log stays in the directory."""

    async def make() -> list[list[Record]]:
        found = []
        async with ground(directory) as here:
            store = here.api.node.recorder
            for n, cpu in enumerate(CPUS * 2):
                head = store.head()
                vm = await here.create(name=f"original-{n}-", cpu_num=cpu)
                if n >= len(CPUS):
                    await here.api.done("StopVmInstance", uuid=vm.uuid)
                records = store.read_all(head, 10_000)
                # What others share, such as the books of the host, stays as it is.
                begun = {r.originator_id for r in records if r.originator_version == 1}
                found.append([r for r in records if r.originator_id in begun])
        return found

    return asyncio.run(make())


def copied(records: Sequence[Record], number: int, position: int, time: int) -> list[Record]:
    """They as they would be of another machine: other identities, another name, another address."""
    own = {str(r.originator_id)[:32] for r in records}

    def other(text: str) -> str:
        return HEX.sub(lambda m: f"{number:08x}{m[0][8:]}" if m[0] in own else m[0], text)

    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}".encode()
    mac = f"fa:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}:01".encode()
    made = []
    for n, record in enumerate(records, 1):
        state = other(record.state.decode()).replace("original-", f"web-{number}-").encode()
        state = MAC.sub(mac, ADDRESS.sub(address, state))
        changed = {"position": position + n, "time": time + n, "state": state}
        for name in ("originator_id", "resource_uuid", "causation_id", "correlation_id", "job_uuid"):
            changed[name] = other(str(getattr(record, name)))
        made.append(dataclasses.replace(record, **changed))
    return made


def owned(records: Sequence[Record], owner: str) -> list[Record]:
    """They as they would be of another account's machine."""
    found = next((m[1] for r in records if (m := OWNER.search(r.state))), None)
    assert found is not None, "no record says whose the machine is"
    return [dataclasses.replace(r, state=r.state.replace(found, owner.encode())) for r in records]


def fill(
    store: Store,
    patterns: Sequence[Sequence[Record]],
    machines: int,
    *,
    first: int = 1,
    owner_of: Callable[[int], str] | None = None,
) -> Iterator[int]:
    """Append so many machines; tells the head now and then. owner_of: whose each is, by its number."""
    position, time = store.head(), store.last_time()
    waiting: list[Record] = []
    for number in range(first, first + machines):
        made = copied(patterns[number % len(patterns)], number, position, time)
        if owner_of is not None:
            made = owned(made, owner_of(number))
        position, time = position + len(made), time + len(made)
        waiting += made
        if len(waiting) >= BATCH or number == first + machines - 1:
            store.insert_events(waiting)
            waiting = []
            yield position


def log_with(
    directory: Path,
    machines: int,
    *,
    address: str = "",
    jobs: bool = True,
    owner_of: Callable[[int], str] | None = None,
) -> int:
    """A data directory whose log has so many machines, and no read models yet; gives the log's length.

    jobs: with all that their creation did; else only what is left of it.
    """
    with tempfile.TemporaryDirectory(prefix="zcloud-bench-") as place:
        patterns = originals(Path(place) / "data")
        if not jobs:
            patterns = [[r for r in records if r.kind != "job"] for records in patterns]
        directory.mkdir(parents=True, exist_ok=True)
        for path in (Path(place) / "data").iterdir():
            if not path.name.startswith(("views.db", "calls.db")):
                (shutil.copytree if path.is_dir() else shutil.copy)(path, directory / path.name)
        store = open_store(directory, address)
        try:
            for _ in fill(store, patterns, machines, owner_of=owner_of):
                pass
            return store.head()
        finally:
            store.close()


def renamed(store: Store, uuid: str, times: int) -> None:
    """A machine that was renamed so often."""
    last = store.read_stream(uuid)[-1]
    position, time = store.head(), store.last_time()
    store.insert_events(
        [
            dataclasses.replace(
                last,
                originator_version=last.originator_version + n,
                topic="vm_instance.Updated",
                state=b'{"name":"web-%d"}' % n,
                position=position + n,
                time=time + n,
            )
            for n in range(1, times + 1)
        ]
    )


@contextlib.contextmanager
def served(directory: Path, *arguments: str) -> Iterator[Product]:
    """A server on a directory that is there; its read models are whole when it serves."""
    server = Served(directory, *arguments)
    try:
        server.start(600.0)
        server.admin.call("QueryZone")
        yield Product(server, server.admin)
    finally:
        server.kill()
