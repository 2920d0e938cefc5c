"""make run: sets up a cloud with one real virtual machine, shows it, and serves until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from agents.kvm.private_libvirtd import LibvirtdError
from zcloud.cli.client import Client
from zcloud.cli.demo import cloud, show
from zcloud.cli.demo.machine import Machine, answers, only_one
from zcloud.cli.errors import CliError
from zcloud.cli.failures import CallError
from zcloud.cli.server import Server

BOOT_SECONDS = 180.0


def main(argv: list[str] | None = None) -> int:
    """0 when all went well."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop everything when the VM has answered")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ZCLOUD_DATA", "var")))
    options = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("make run needs root: it makes bridges and starts virtual machines", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    server = os.environ.get("ZCLOUD_SERVER", "127.0.0.1:50051")
    os.environ["ZCLOUD_DATA"] = str(options.data)
    with only_one(options.data):
        return _run(Machine(options.data, server), once=options.once)


def _run(machine: Machine, *, once: bool) -> int:
    say = show.Teller()
    vm_uuid, status = "", 1
    with Client(Server(machine.server)) as client:
        api = cloud.Api(client)
        try:
            say("guest image", machine.build_image)
            say("OpenSSH server", machine.start_sshd)
            say("libvirt", machine.start_libvirtd)
            say("network cable", machine.plug_cable)
            say("management node", machine.start_node)
            vm_uuid = cloud.build(api, machine, say)
            address = say("the guest answers", lambda: _await_guest(api, vm_uuid))
            show.audit_trail(api, vm_uuid)
            show.how_to_go_on(machine.server, str(machine.directory), vm_uuid, address)
            if not once:
                print("Serving; Ctrl-C ends it.", flush=True)
                signal.pause()
            status = 0
        except KeyboardInterrupt:
            status = 0 if vm_uuid else 130
        except (CliError, CallError, LibvirtdError, RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"make run: {error}", file=sys.stderr)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            status = max(status, _end(api, machine, say))
    return status


def _await_guest(api: cloud.Api, vm_uuid: str) -> str:
    """Its address, when it answers there."""
    address = str(api.call("GetVmInstance", uuid=vm_uuid).inventory.vm_nics[0].ip)
    end = time.monotonic() + BOOT_SECONDS
    while not answers(address):
        if time.monotonic() > end:
            raise RuntimeError(f"the guest did not answer on {address} within {BOOT_SECONDS:.0f} s")
    return address


def _end(api: cloud.Api, machine: Machine, say: show.Teller) -> int:
    status = 0
    try:
        if machine.serves:
            cloud.pack_up(api, say)
    except (CliError, CallError, RuntimeError) as error:
        print(f"make run: {error}", file=sys.stderr)
        status = 1
    machine.stop()
    print("Everything is stopped; the next run goes on from here.", flush=True)
    return status


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
