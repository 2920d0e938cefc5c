"""Simulated hosts for a cluster: zcloud agent simulator --cluster UUID --hosts N."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import grpc

from agents.runtime.enroll import EnrollError, enroll
from agents.runtime.files import allow_most
from agents.simulator.cloud import Cloud, Size, missing_names
from agents.simulator.faults import Faults
from agents.simulator.fleet import STREAMS_PER_CHANNEL, Fleet
from agents.simulator.host import TASK_NAMES, SimulatedHost
from zcloud.v1.simulator_host_pb2 import SimulatorHost

UNITS = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
ADDS_AT_ONCE = 16
SECURE = "grpcs://"


def size(text: str) -> int:
    """Bytes of 256GiB, 512MiB or a plain number."""
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", text)
    if match is None or match[2].upper() not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write for example 256GiB")
    return int(match[1]) * UNITS[match[2].upper()]


def fault(text: str) -> tuple[str, float]:
    """StartVmTask=20: a fifth of these tasks fails."""
    name, _, percent = text.partition("=")
    if name not in TASK_NAMES:
        raise argparse.ArgumentTypeError(f"there is no task {name!r}; there are {', '.join(sorted(TASK_NAMES))}")
    if not re.fullmatch(r"\d+(\.\d+)?", percent) or float(percent) > 100:
        raise argparse.ArgumentTypeError(f"{percent!r} is no percentage from 0 to 100")
    return name, float(percent)


def count(text: str) -> int:
    """A number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="zcloud agent simulator", description=__doc__)
    p.add_argument("--server", default=os.environ.get("ZCLOUD_SERVER", "127.0.0.1:50051"), help="host:port of the API")
    p.add_argument("--ca", type=Path, help="TLS: PEM file of the API's authority; grpcs://host:port: the system's")
    p.add_argument("--server-name", default="", help="what the API's certificate is for, when that is not its address")
    p.add_argument("--token", default=os.environ.get("ZCLOUD_TOKEN", ""), help="session of an admin (or ZCLOUD_TOKEN)")
    p.add_argument("--cluster", required=True, metavar="UUID", help="cluster to add the hosts to")
    p.add_argument("--hosts", type=count, required=True, metavar="N", help="how many hosts there shall be")
    p.add_argument("--cpu", type=count, default=64, metavar="N", help="CPUs of a new host")
    p.add_argument("--memory", type=size, default=size("256GiB"), metavar="SIZE", help="memory of a new host")
    p.add_argument("--delay", type=count, default=None, metavar="MS", help="how long each task takes")
    p.add_argument(
        "--streams",
        type=count,
        default=STREAMS_PER_CHANNEL,
        metavar="N",
        help="hosts on one connection; 1 as real ones",
    )
    p.add_argument("--fail", type=fault, action="append", default=[], metavar="TASK=PERCENT", help="faults by chance")
    return p


def main(argv: list[str]) -> int:
    """Run until Ctrl-C; the exit status."""
    made = parser()
    options = made.parse_args(argv)
    # Not while the words are read: of several the last counts, and the command line puts it behind a name.
    if not re.fullmatch(r"[0-9a-f]{32}", options.cluster):
        made.error(f"argument --cluster: {options.cluster!r} is no uuid: 32 lower-case hex digits")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    if not options.token:
        print("no session: pass --token, or set ZCLOUD_TOKEN to what LogInByAccount gave", file=sys.stderr)
        return 2
    allow_most()
    try:
        asyncio.run(_until_stopped(options))
    except grpc.aio.AioRpcError as error:
        print(f"{options.server}: {error.code().name}: {error.details()}", file=sys.stderr)
        return 3 if error.code() is grpc.StatusCode.UNAVAILABLE else 1
    except (EnrollError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _until_stopped(options: argparse.Namespace) -> None:
    life = asyncio.create_task(simulate(options))
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, life.cancel)
    try:
        await life
    except asyncio.CancelledError:
        print("stopped", flush=True)


def _api_channel(options: argparse.Namespace) -> grpc.aio.Channel:
    server = options.server.removeprefix(SECURE)
    if options.ca is None and server == options.server:
        return grpc.aio.insecure_channel(server)
    trusted = options.ca.read_bytes() if options.ca is not None else None
    name = (("grpc.ssl_target_name_override", options.server_name),) if options.server_name else ()
    return grpc.aio.secure_channel(server, grpc.ssl_channel_credentials(trusted), options=name)


async def simulate(options: argparse.Namespace) -> None:
    """Find or add the hosts, let them dial in, and keep them alive until cancelled."""
    faults = Faults(dict(options.fail))

    def simulated(host: SimulatorHost) -> SimulatedHost:
        # A host that was added with another size keeps it.
        return SimulatedHost(
            host.uuid,
            cpu_num=host.cpu_num or options.cpu,
            memory_size=host.total_memory_capacity or options.memory,
            delay=(options.delay or 0) / 1000,
            faults=faults,
        )

    with tempfile.TemporaryDirectory(prefix="zcloud-simulator-") as directory:
        async with _api_channel(options) as channel:
            cloud = Cloud(channel, options.token, options.cluster)
            present = await cloud.hosts()
            issued = await cloud.issue_token()
            identity = await enroll(
                Path(directory), issued.enroll_endpoint, issued.token, issued.ca_fingerprint, "simulator"
            )
            fleet = Fleet(issued.agent_endpoint, identity, options.streams, Path(directory))
            try:
                for host in present[: options.hosts]:
                    fleet.start(simulated(host))
                names = missing_names([host.name for host in present], options.hosts)
                gate = asyncio.Semaphore(ADDS_AT_ONCE)

                async def add(name: str) -> None:
                    async with gate:
                        fleet.start(simulated(await cloud.add_host(name, Size(options.cpu, options.memory))))

                await asyncio.gather(*(add(name) for name in names))
                print(f"{options.hosts} hosts, {len(names)} of them new", flush=True)
                await fleet.connected()
                print(f"{options.hosts} hosts are connected; Ctrl-C ends them", flush=True)
                await asyncio.Event().wait()
            finally:
                await fleet.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
