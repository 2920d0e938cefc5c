"""A real `zcloud serve` to be measured: on SQLite or PostgreSQL, alone or with all that a VM needs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
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
        load = drive(self.target(rpc, keep=keep), requests, seconds, **how)
        if load.refused:
            raise RuntimeError(f"{rpc}: {len(load.refused)} refused, the first: {load.refused[0]}")
        return load

    def costs(self, load: Load, before: dict[str, float]) -> str:
        """What a call of this load has cost, by process; before: cpu_by_process when it began."""
        after = cpu_by_process(self.pid)
        calls = load.rate * (load.counted_seconds + WARM_SECONDS)
        each = {name: 1e6 * (seconds - before.get(name, 0.0)) / calls for name, seconds in after.items()}
        told = ", ".join(f"{name} {each[name]:.0f}" for name in sorted(each, key=lambda n: -each[n]))
        return f"CPU \u00b5s a call: {told}"

    def die_and_come_back(self) -> None:
        """A power cut, and the start after it."""
        self.server.kill()
        self.server.start()
        self.admin = self.server.admin


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
        server = ServerProcess(
            Path(directory) / "node", arguments=[*AS_SERVED, *(("--store", address) if address else ()), *arguments]
        )
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
