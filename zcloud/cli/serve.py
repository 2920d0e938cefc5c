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
from zcloud.kernel.leases import LEASE_SECONDS
from zcloud.kernel.store import POSTGRESQL, StoreAway

LONGEST_LEASE = 3600


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
    parser.add_argument("--listen-agents", default="127.0.0.1:50052", help="address of agents' sessions (mutual TLS)")
    parser.add_argument("--listen-enrolment", default="127.0.0.1:50053", help="address of agents' enrolment (TLS)")
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
        help="nodes on this machine behind one address, with --store postgresql://… (default: 1)",
    )
    tls.add_options(parser)
    parser.add_argument("--share-ports", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args(argv)
    if options.store and not options.store.startswith(POSTGRESQL):
        parser.error(f"--store {options.store.partition(':')[0]}:…: must be postgresql://host/database")
    if not 1 <= options.lease <= LONGEST_LEASE:
        parser.error(f"--lease {options.lease:g}: must be from 1 to {LONGEST_LEASE} seconds")
    if options.workers < 1 or (options.workers > 1 and not options.store):
        parser.error(f"--workers {options.workers}: one process writes a SQLite store; give --store postgresql://…")
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
        return asyncio.run(_serve(options) if options.workers == 1 else _serve_many(options))
    except (OSError, JournalError, Undeclared, StoreAway) as error:
        raise CliError(f"serve: {error}") from None


async def _serve_many(options: argparse.Namespace) -> int:
    return await Workers(options).run()


async def _serve(options: argparse.Namespace) -> int:
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
    )
    memory.settle()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await node.start(options.listen, options.listen_agents, options.listen_enrolment)
        print(f"zcloud serves on {node.address}", flush=True)
        await stop.wait()
    finally:
        await node.stop()
    return 0
