"""A real `zcloud serve` to be measured: on SQLite or PostgreSQL, alone or with all that a VM needs."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.load import WARM_SECONDS, Load, Target, drive
from bench.machine import cpu_by_process
from tests.support.cloud import Client, ServerProcess, build
from tests.support.postgres import PostgresCluster
from zcloud.api.rpcs import rpcs
from zcloud.kernel.store import open_store

# What `zcloud serve` does by itself; servers of tests have no fronts unless they ask for some.
AS_SERVED = ("--fronts", "1")
STORES = ("sqlite", "postgresql")


class Served(ServerProcess):
    """`zcloud serve` as an operator starts it; those of tests are forked from what has imported everything."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        super().__init__(directory, arguments=[*AS_SERVED, *arguments])

    def _spawn(self, argv: list[str], output: Any, environment: dict[str, str]) -> Any:
        return subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, env=environment)


@dataclass
class Product:
    """A server and a session of its admin."""

    server: ServerProcess
    admin: Client

    @property
    def pid(self) -> int:
        """Of the node; its read models are written by a child of it."""
        assert self.server._process is not None
        return self.server._process.pid

    def target(self, rpc: str, *, keep: bool = False) -> Target:
        """For calls of this RPC by the admin."""
        return Target(self.server.address, rpcs()[rpc].path, self.admin.token, keep)

    def drive(self, rpc: str, requests: Any, seconds: float, *, keep: bool = False, **how: Any) -> Load:
        """Load of one RPC; refusals end the measurement."""
        before = cpu_by_process(self.pid)
        load = drive(self.target(rpc, keep=keep), requests, seconds, **how)
        load.costs = _costs(load, before, cpu_by_process(self.pid))
        if load.refused:
            raise RuntimeError(f"{rpc}: {len(load.refused)} refused, the first: {load.refused[0]}")
        return load

    def die_and_come_back(self) -> None:
        """A power cut, and the start after it."""
        self.server.kill()
        self.server.start()
        self.admin = self.server.admin


def _costs(load: Load, before: dict[str, float], after: dict[str, float]) -> str:
    calls = max(1.0, load.rate * (load.counted_seconds + WARM_SECONDS))
    each = {name: 1e6 * (seconds - before.get(name, 0.0)) / calls for name, seconds in after.items()}
    told = ", ".join(f"{name} {each[name]:.0f}" for name in sorted(each, key=lambda name: -each[name]))
    return f"CPU \u00b5s a call: {told}"


def lost(it: Product, create: str, query: str, acknowledged: Iterable[bytes]) -> int:
    """After a power cut: how many of what was acknowledged are not there."""
    response = rpcs()[create].response
    wanted = {response.FromString(answer).inventory.uuid for answer in acknowledged}  # type: ignore[attr-defined]
    it.die_and_come_back()
    token = ""
    while True:
        page = it.admin.call(query, page_size=1000, page_token=token, order_by="uuid")
        wanted -= {resource.uuid for resource in page.inventories}
        token = page.next_page_token
        if not token:
            return len(wanted)


def message(rpc: str, **fields: Any) -> bytes:
    """A request as it goes over the wire."""
    return build(rpc, fields).SerializeToString()


@contextlib.contextmanager
def product(store: str = "sqlite", *arguments: str) -> Iterator[Product]:
    """A server in a directory of its own, gone afterwards."""
    # A child of a node that was killed may write for a moment longer; the figures are not to be lost for that.
    place = tempfile.TemporaryDirectory(prefix="zcloud-bench-", ignore_cleanup_errors=True)
    with place as directory, contextlib.ExitStack() as stack:
        address = ""
        if store == "postgresql":
            cluster = PostgresCluster()
            stack.callback(cluster.remove)
            address = cluster.database()
        server = Served(Path(directory) / "node", *(("--store", address) if address else ()), *arguments)
        stack.callback(server.kill)
        assert_durable(Path(directory), address)
        server.start()
        yield Product(server, server.admin)


def assert_durable(directory: Path, address: str) -> None:
    """What is committed is on the disk: figures without that would be of something else."""
    if address:
        with psycopg.connect(address) as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                row = connection.execute(f"SHOW {name}".encode()).fetchone()
                assert row == ("on",), (name, row)
        return
    store: Any = open_store(directory)
    try:
        with store._transaction() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    finally:
        store.close()
