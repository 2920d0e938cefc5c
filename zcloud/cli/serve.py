"""zcloud serve: one management node until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path

from agents.node.kvm_agent import AGENT_BASE
from agents.runtime.files import allow_most
from agents.runtime.journal import JournalError
from zcloud.api.answers import Undeclared
from zcloud.api.node import Node
from zcloud.api.tls import BadCertificate
from zcloud.cli import tls
from zcloud.cli.errors import CliError
from zcloud.cli.workers import Workers
from zcloud.kernel import memory
from zcloud.kernel.keep import Turns
from zcloud.kernel.leases import LEASE_SECONDS
from zcloud.kernel.store import POSTGRESQL, StoreAway, open_store

log = logging.getLogger(__name__)
LONGEST_LEASE = 3600
MOST_WORKERS = 64


def main(argv: list[str]) -> int:
    """Serve; returns 0 after SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="zcloud serve", description="Run a management node.")
    parser.add_argument("--data", default="var", help="directory for log, read models, keys (default: var)")
    parser.add_argument(
        "--store",
        default=os.environ.get("ZCLOUD_STORE", ""),
        help="postgresql://user@host[,host]/database for log and read models (default: $ZCLOUD_STORE, or SQLite under"
        " --data); a password belongs in ~/.pgpass or in the variable",
    )
    parser.add_argument("--listen", default="127.0.0.1:50051", help="address of the API (default: 127.0.0.1:50051)")
    parser.add_argument(
        "--listen-agents",
        default="127.0.0.1:50052",
        help="address of agents' sessions (mutual TLS), which hosts are told (default: 127.0.0.1:50052)",
    )
    parser.add_argument(
        "--listen-enrolment",
        default="127.0.0.1:50053",
        help="address of agents' enrolment (TLS), which hosts are told (default: 127.0.0.1:50053)",
    )
    parser.add_argument(
        "--agent-base", default=AGENT_BASE, help=f"directory on hosts for agents (default: {AGENT_BASE})"
    )
    parser.add_argument(
        "--node-name",
        default=os.environ.get("ZCLOUD_NODE_NAME", ""),
        help="of several nodes on one store, this one's name (default: made of the machine's name and --data)",
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=os.environ.get("ZCLOUD_LEASE", str(LEASE_SECONDS)),  # a text, so that a wrong one is refused as well
        help=f"seconds after which other nodes see to the work of one that is gone (default: {LEASE_SECONDS:g})",
    )
    parser.add_argument(
        "--vault-key",
        type=Path,
        default=os.environ.get("ZCLOUD_VAULT_KEY") or None,
        help="file with the key that seals secrets, the same on every node (default: vault.key under --data)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="use more cores behind one address: as many nodes with --store postgresql://…, else as many fronts",
    )
    parser.add_argument(
        "--fronts",
        type=int,
        metavar="N",
        help="processes that speak gRPC for a node, which then only decides (default: 1; 0 where there is one core)",
    )
    tls.add_options(parser)
    parser.add_argument("--share-ports", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=["first", "again"], help=argparse.SUPPRESS)
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args(argv)
    if options.store and not options.store.startswith(POSTGRESQL):
        parser.error(f"--store {options.store.partition(':')[0]}:…: must be postgresql://host/database")
    if not 1 <= options.lease <= LONGEST_LEASE:
        parser.error(f"--lease {options.lease:g}: must be from 1 to {LONGEST_LEASE} seconds")
    if not 1 <= options.workers <= MOST_WORKERS:
        parser.error(f"--workers {options.workers}: must be from 1 to {MOST_WORKERS}")
    if options.fronts is None:
        options.fronts = options.workers if len(os.sched_getaffinity(0)) > 1 else 0
    if not 0 <= options.fronts <= MOST_WORKERS:
        parser.error(f"--fronts {options.fronts}: must be from 0 to {MOST_WORKERS}")
    for option, address in (("agents", options.listen_agents), ("enrolment", options.listen_enrolment)):
        if tls.is_unspecified(address):
            parser.error(
                f"--listen-{option} {address}: agents are told this address;"
                " give the one by which hosts reach this machine, such as 10.0.0.1:50052"
            )
    try:
        options.api_tls = tls.read(options, parser)
    except BadCertificate as error:
        raise CliError(f"serve: {error}") from None
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    # Log and read models hold what every account has; keys lie beside them.
    os.umask(0o077)
    allow_most()
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    try:
        many = options.store and options.workers > 1
        return asyncio.run(_serve_many(options) if many else _serve(options))
    except (OSError, JournalError, Undeclared, StoreAway) as error:
        raise CliError(f"serve: {error}") from None


async def _serve_many(options: argparse.Namespace) -> int:
    return await Workers(options).run()


async def _serve(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.worker:
        # Whoever started it holds the other end: a worker that nobody keeps would be in the way of the next.
        loop.add_reader(0, lambda: None if os.read(0, 1) else _alone(stop))
    if options.worker == "again" and not await _store_is_there(options, stop):
        return 0
    node = Node(
        Path(options.data),
        options.agent_base,
        options.store,
        follow_apart=True,
        name=options.node_name,
        lease=options.lease,
        vault_key=options.vault_key,
        share_ports=options.share_ports,
        tls=options.api_tls,
        fronts=options.fronts,
    )
    memory.settle()
    starting = asyncio.ensure_future(node.start(options.listen, options.listen_agents, options.listen_enrolment))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            print(f"zcloud serves on {node.address}", flush=True)
            await stopping
    finally:
        # What it waits for at its start may never come.
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await node.stop()
    return 0


def _alone(stop: asyncio.Event) -> None:
    asyncio.get_running_loop().remove_reader(0)
    stop.set()


async def _store_is_there(options: argparse.Namespace, stop: asyncio.Event) -> bool:
    """False when it is to stop meanwhile. Beginning as a process again and again would take a core, and be later."""
    turns = Turns("store")
    while not stop.is_set():
        try:
            store = await asyncio.to_thread(open_store, Path(options.data), options.store)
            await asyncio.to_thread(store.head)
            await asyncio.to_thread(store.close)
        except StoreAway as away:
            if turns.broke(away.message):
                log.warning("it waits for the store: %s", away.message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), turns.pause(soon=True))
        else:
            return True
    return False
